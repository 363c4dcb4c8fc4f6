"""Names that mean a split, and names that do not."""

import pytest

from pipeline.data.split_names import split_of

MEANT = {
    "train": [
        "train",
        "Train",
        "TRAINING",
        "training_set",
        "trainset",
        "train-images",
        "seg_train",
        "Train Data",
    ],
    "validation": ["val", "Valid", "validation", "dev", "validation_set", "val_images", "devset"],
    "test": ["test", "Testing", "test_set", "seg_test", "images_test", "TestSet"],
    None: [
        "invalid",
        "bullet_train",
        "trains",
        "fold1",
        "tested",
        "dataset",
        "extra",
        "unlabelled",
        "set",
        "",
    ],
}


@pytest.mark.parametrize(("split", "name"), [(s, name) for s, names in MEANT.items() for name in names])
def test_a_name_means_a_split(split, name):
    assert split_of(name) == split
