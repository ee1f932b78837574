"""From a file to a batch: which images, decoded ahead of the model, and what is known of them."""
