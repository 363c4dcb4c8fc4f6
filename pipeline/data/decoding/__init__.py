"""From the bytes of an image file to RGB pixels of the model's size."""

__all__ = ["decode", "deep_range", "image_formats", "orientation", "pillow_images", "quick_reading", "resize"]
