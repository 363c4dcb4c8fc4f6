"""From a Keras network to a SavedModel and to .tflite files."""

__all__ = ["alignment", "converter", "metadata", "network", "saved_model", "slim"]
