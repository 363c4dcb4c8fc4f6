"""What is written for the device, and how it is put in place."""

__all__ = ["directory", "failure", "golden", "golden_resize", "preprocessing", "report", "write"]
