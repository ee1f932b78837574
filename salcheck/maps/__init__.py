"""What can be done with maps: ranking and sets of pixels, likeness, agreement, drift."""
