"""The networks that are measured, pixels to logits."""
