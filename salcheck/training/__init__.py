"""Small models, trained from nothing."""
