"""Where images come from, how they are split, varied and batched."""

__all__ = [
    "batches",
    "class_names",
    "copies",
    "decode",
    "deep_range",
    "digits",
    "exclusions",
    "findings",
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
