"""Layouts of image folders: which are read as split folders, as classes, or refused."""

import os
from pathlib import Path

import pytest

from pipeline.data.folders.folder import load_folder
from pipeline.errors import UserError
from tests.pipeline.data.folder_samples import save


def lay_out(root: Path, *folders: str) -> Path:
    """Put three images, found nowhere else, into each of the folders."""
    for number, folder in enumerate(folders):
        for image in range(3):
            save(root / folder / f"{image}.png", 10 * number + image)
    return root


def each(*tops: str, classes: tuple[str, ...] = ("cat", "dog")) -> list[str]:
    return [f"{top}/{name}" for top in tops for name in classes]


READ_AS_SPLITS = {
    "Kaggle": ["training_set", "test_set"],
    "capitals": ["Train", "Val", "TEST"],
    "Roboflow": ["train", "valid", "test"],
    "words": ["Training", "Validation", "Testing"],
    "Intel": ["seg_train/seg_train", "seg_test/seg_test"],
    "images": ["train_images", "dev_images", "test_images"],
}


@pytest.mark.parametrize("case", READ_AS_SPLITS)
def test_split_folders_are_known_by_their_usual_names(case, tmp_path):
    tops = READ_AS_SPLITS[case]
    source = load_folder(lay_out(tmp_path, *each(*tops)), max_bad_share=0)
    assert source.class_names == ("cat", "dog")
    expected = ["train", "validation", "test"] if len(tops) == 3 else ["train", "test"]
    assert list(source.provided) == expected
    for split, top in zip(expected, tops, strict=True):
        rows = source.provided[split]
        assert source.labels[rows].tolist() == [0] * 3 + [1] * 3
        assert all(source.paths[row].startswith(f"{tmp_path}/{top}/") for row in rows)


def test_litter_beside_split_folders_is_no_split(tmp_path):
    root = lay_out(tmp_path, *each("train", "test", "__MACOSX/train", "@eaDir"))
    assert list(load_folder(root, max_bad_share=0).provided) == ["train", "test"]


REFUSED = {
    "folds": (
        each("fold1", "fold2", "fold3"),
        "'fold1', 'fold2', 'fold3' in 'ROOT' hold none but folders of the same names, 'cat', 'dog'.*"
        "--data folder:ROOT/fold1;",
    ),
    "unknown names": (each("first", "second"), "look like splits or parts of one set"),
    "capitals below": ([*each("a"), "b/Cat", "b/Dog"], "the same names, 'cat', 'dog'"),
    "capitals": (each("One", "Two", classes=("Cat", "Dog")), "the same names, 'Cat', 'Dog'"),
    "domains": (each("amazon/images", "dslr/images"), "--data folder:ROOT/amazon/images;"),
    "doubled": (each("one/one", "two/two"), "--data folder:ROOT/one/one;"),
    "GTSRB": (
        [*each("Train"), "Test", "Meta"],
        "move 'Meta' elsewhere, call it as its split, or rename 'Test', 'Train'",
    ),
    "folds in train": (each("train/fold1", "train/fold2", "test/fold1"), "look like splits or parts of one"),
    "a sample": ([*each("train", "test"), "sample"], "no others; .*move 'sample' elsewhere"),
    "a sample by class": (each("train", "test", "sample"), "no others; .*move 'sample' elsewhere"),
    "a sample and capitals": ([*each("Training"), "sample"], "no others; .*move 'sample' elsewhere"),
    "Cassava": (["train_images", "test_images", "extra"], "no others; .*move 'extra' elsewhere"),
    "no classes in them": (
        ["train_images", "test_images"],
        "received 0 beside 3 loose files in '.*/train_images'",
    ),
    "Intel with pred": (
        [*each("seg_train/seg_train", "seg_test/seg_test"), "seg_pred/seg_pred"],
        "move 'seg_pred' elsewhere",
    ),
    "two for validation": (each("train", "val", "valid"), "each once, .*'train', 'val', 'valid'"),
    "two for train": (each("train", "Training"), "each once, .*'Training', 'train'"),
    "no train": (each("Valid", "Test"), "must hold train, .*received 'Test', 'Valid'"),
    "splits below": ([*each("set/train", "set/test"), "sample"], "point there with --data folder:ROOT/set"),
    "splits in classes": (each("cat", "dog", classes=("train", "test")), "SPLIT/CLASS/... in place of CLASS"),
    "wrapped": (
        each("images"),
        "received 1 beside 1 loose file in 'ROOT' .its 'cat', 'dog'. --data folder:ROOT/images",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_splits_never_pass_for_classes(case, tmp_path):
    folders, message = REFUSED[case]
    lay_out(tmp_path, *folders)
    (tmp_path / "README.txt").write_text("beside all")
    with pytest.raises(UserError, match=message.replace("ROOT", str(tmp_path))) as error:
        load_folder(tmp_path, max_bad_share=1)
    assert "\n" not in str(error.value)


def test_side_files_do_not_hide_splits(tmp_path):
    lay_out(tmp_path, *each("fold1", "fold2"))
    for fold in ("fold1", "fold2"):
        (tmp_path / fold / "labels.csv").write_text("a,b")
    with pytest.raises(UserError, match="look like splits"):
        load_folder(tmp_path, max_bad_share=1)


READ_AS_CLASSES = {
    "valid and invalid": (["valid", "invalid"], ("invalid", "valid")),
    "vehicles": (["Train", "Bus", "Car"], ("Bus", "Car", "Train")),
    "a test and a control": (["Test", "Control"], ("Control", "Test")),
    "trains": (["bullet_train", "steam_train"], ("bullet_train", "steam_train")),
    "nested": (["cat/a", "cat/b", "dog/c", "dog/d"], ("cat", "dog")),
    "Tiny ImageNet": (["n01/images", "n02/images"], ("n01", "n02")),
}


@pytest.mark.parametrize("case", READ_AS_CLASSES)
def test_classes_stay_classes(case, tmp_path):
    folders, names = READ_AS_CLASSES[case]
    assert load_folder(lay_out(tmp_path, *folders), max_bad_share=0).class_names == names


def test_classes_that_may_be_none_are_said(tmp_path, capsys):
    root = lay_out(tmp_path, *each("images"), "samples", "drawn/one", "drawn/two", "shot/one")
    load_folder(root, max_bad_share=0)
    line = f"{root}: the class 'drawn' is all that 'one', 'two' in it hold; so it is with 1 others\n"
    assert capsys.readouterr().out == line


def test_folders_of_equal_names_beside_images_are_parts_of_classes(tmp_path):
    root = lay_out(tmp_path, "cat", "dog", *each("cat", "dog", classes=("near", "far")))
    assert load_folder(root, max_bad_share=0).class_names == ("cat", "dog")


def test_a_link_that_leads_back_is_not_followed_for_ever(tmp_path):
    root = lay_out(tmp_path, "cat/a", "dog/b")
    os.symlink(root / "cat", root / "cat" / "a" / "loop")
    source = load_folder(root, max_bad_share=1)
    assert [problem for _, problem in source.problems] == ["not a regular file"]


@pytest.mark.parametrize(
    ("one", "other"), [("café", "cafe\u0301"), (os.fsdecode(b"caf\xe9"), "caf\\xe9"), ("a b", "a  b")]
)
def test_class_folders_that_print_the_same_are_refused(one, other, tmp_path):
    root = lay_out(tmp_path, one, other, "dog")
    with pytest.raises(UserError, match="must differ in print") as error:
        load_folder(root, max_bad_share=0)
    assert all(repr(os.fsencode(name)) in str(error.value) for name in (one, other))


def test_a_home_directory_that_there_is_not_is_a_folder_that_is_missing():
    with pytest.raises(UserError, match=r"must be readable.*~nobody-of-that-name': No such file"):
        load_folder(Path("~nobody-of-that-name"), max_bad_share=0)
