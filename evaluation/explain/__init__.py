"""Where a network looks: Grad-CAM of Keras networks and of .tflite files."""

__all__ = ["explanation"]
