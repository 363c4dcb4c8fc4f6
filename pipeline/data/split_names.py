"""Which split a name means, of a folder or in a set of TensorFlow Datasets."""

import re

SPLITS = ("train", "validation", "test")
"""Split names; an image that is in several is kept in the last of them."""

WORDS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "development": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""Word -> split."""


def split_of(name: str) -> str | None:
    """Return the split that a name means, None where it means none.

    It is one of `WORDS` in any case, alone or as in training_set, test-images, valdata, seg_train.
    """
    word = re.sub(r"^(seg|images)[-_ ]+", "", name.lower())
    return WORDS.get(re.sub(r"[-_ ]*(set|data|images|split)$", "", word))
