"""Where images come from, how they are split, varied and batched."""

__all__ = [
    "batches",
    "class_names",
    "copies",
    "decoding",
    "digits",
    "exclusions",
    "folders",
    "image_size",
    "prepare",
    "sources",
    "splits",
    "table",
    "tfds",
]
