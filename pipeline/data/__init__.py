"""Where images come from, how they are split, varied and batched."""

__all__ = ["batches", "class_names", "folder", "image_size", "prepare", "splits", "table", "tfds"]
