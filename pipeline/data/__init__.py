"""Where images come from, how they are split, varied and batched."""

__all__ = [
    "batches",
    "class_names",
    "decode",
    "digits",
    "exclusions",
    "folder",
    "folder_check",
    "folder_layout",
    "image_formats",
    "image_size",
    "prepare",
    "splits",
    "table",
    "tfds",
]
