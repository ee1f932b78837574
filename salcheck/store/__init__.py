"""What is kept: the results database, the map cache, and which code made a number."""
