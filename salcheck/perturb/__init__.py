"""Changed images, and what the model answers to them."""
