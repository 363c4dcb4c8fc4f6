"""The size of images and the number of classes, without the images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.config.settings import DataConfig
from pipeline.data import tfds
from pipeline.data.image_size import median_side, side_of_squares, size_and_classes
from pipeline.data.table import ArrayImages, EncodedImages, Source
from pipeline.errors import UserError
from tests.pipeline.data import tiny_builder as tiny


@pytest.fixture(autouse=True)
def _nothing_is_read(tmp_path, monkeypatch):
    """No data set is prepared, no host answers and no image is opened."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nothing"))
    for name in ("reachable", "prepare", "decode_records", "scan_records"):
        monkeypatch.setattr(tfds, name, lambda *_: pytest.fail("read images"))
    yield
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(
    ("data", "image_size", "expected"),
    [
        # As their papers and pages say.
        ("digits", 0, (8, 10)),
        ("cifar10", 0, (32, 10)),
        ("cifar100", 0, (32, 100)),
        ("mnist", 0, (28, 10)),
        ("imagenet2012", 224, (224, 1000)),
        ("imagenette/160px-v2", 160, (160, 10)),
        ("cifar10", 48, (48, 10)),
    ],
)
def test_sets_that_are_not_on_this_machine(data, image_size, expected):
    assert size_and_classes(DataConfig(data=data, image_size=image_size)) == expected


@pytest.mark.parametrize("layout", ["root", "split_root"])
def test_classes_of_a_folder_are_counted(layout, request):
    folder = request.getfixturevalue(layout)
    assert size_and_classes(DataConfig(data=f"folder:{folder}", image_size=64)) == (64, 2)


def test_a_prepared_set_needs_no_code(tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    tiny.prepare(tiny.TinyVariable, tmp_path)
    received = size_and_classes(DataConfig(data="tiny_variable", image_size=12))
    assert received == (12, len(tiny.CLASS_NAMES))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("cifar11", "--data must be .* received 'cifar11': .* did you mean 'cifar10"),
        ("imagenet2012", "--image-size must be given .* as in imagenet2012; received 0"),
        ("imdb_reviews", "a data set must have supervised keys"),
        ("folder:missing", "a folder must be readable; .*missing"),
    ],
)
def test_refusals(data, message):
    with pytest.raises(UserError, match=message):
        size_and_classes(DataConfig(data=data))


def test_a_folders_images_have_no_size_of_their_own(root):
    with pytest.raises(UserError, match=f"--image-size must be given .* as in folder:{root}"):
        size_and_classes(DataConfig(data=f"folder:{root}"))


@pytest.mark.parametrize("shape", [(None, None, 3), (4, 6, 3), (None, 6, 3), (4, None, 1)])
def test_images_that_are_not_squares_of_one_size(shape):
    with pytest.raises(UserError, match="received 0"):
        side_of_squares(shape, "set")
    assert side_of_squares((6, 6, 3), "set") == 6


def source_of(images: ArrayImages | EncodedImages, *paths: Path) -> Source:
    labels = np.zeros(len(paths), np.int64)
    return Source("it", ("a", "b"), labels, labels, images, {}, paths=tuple(map(str, paths)))


def test_files_tell_the_median_of_their_shorter_sides(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for path, size in zip(paths, [(10, 300), (20, 20), (400, 90)], strict=False):
        Image.new("RGB", size).save(path)
    paths[3].write_bytes(b"GIF89a")  # damaged
    assert median_side(source_of(EncodedImages(None), *paths)) == 20
    assert median_side(source_of(EncodedImages(None))) is None
    assert median_side(source_of(ArrayImages(np.zeros((2, 5, 7, 3), np.uint8)))) == 5
