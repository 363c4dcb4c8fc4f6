"""Whether a converted network does what the trained one does."""
