"""Image corruptions of CIFAR-10-C: made here, and as their authors prepared them."""

__all__ = ["corrupt", "prepared"]
