"""From a finished run to verified files that a device can run."""

__all__ = ["convert", "quantize", "tflite", "verify"]
