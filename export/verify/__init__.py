"""Whether a converted network does what the trained one does."""

__all__ = ["accuracy", "comparison", "logits", "micro", "npu", "operations", "pixels", "served"]
