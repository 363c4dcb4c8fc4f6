"""From a float32 .tflite file to an int8 one."""

__all__ = ["calibration_images", "layer_error", "preview", "ranges", "search", "stability", "strategies"]
