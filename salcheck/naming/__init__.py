"""Names: how what a user types finds its file, and how its parameters are read."""
