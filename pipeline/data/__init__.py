"""Where images come from, how they are split, varied and batched."""
