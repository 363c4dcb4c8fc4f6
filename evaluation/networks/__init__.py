"""The networks that are measured, pixels to logits."""

__all__ = ["deployed", "networks"]
