"""Where images come from, how they are split, varied and batched."""

__all__ = [
    "batches",
    "class_names",
    "decode",
    "deep_range",
    "digits",
    "exclusions",
    "folder",
    "folder_check",
    "folder_layout",
    "image_formats",
    "image_size",
    "orientation",
    "pillow_images",
    "prepare",
    "resize",
    "splits",
    "table",
    "tfds",
]
