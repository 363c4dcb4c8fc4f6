"""From a finished run to verified files that a device can run."""

__all__ = ["convert", "formats", "quantize", "verify"]
