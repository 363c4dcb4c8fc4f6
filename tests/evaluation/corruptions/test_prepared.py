"""CIFAR-10-C prepared by TFDS: a small set that lies where the real one would."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from evaluation.corruptions.corrupt import BATCH, SEVERITIES
from evaluation.corruptions.prepared import find_prepared, read_prepared

IMAGES = BATCH + 12
"""More than one batch."""

CODES = {"brightness": 1, "frosted_glass_blur": 2}
"""TFDS's name of a corruption -> the blue of its images; glass blur has another name there."""


def image_of(i: int, config: str) -> np.ndarray:
    """An image that tells its number, severity and corruption by its colour."""
    name, _, severity = config.rpartition("_")
    return np.full((32, 32, 3), [i, severity, CODES[name]], np.uint8)


class Cifar10Corrupted(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Of TFDS's `cifar10_corrupted` the name, the features and some of the configs."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name=f"{name}_{severity}") for name in CODES for severity in SEVERITIES
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Image(shape=(32, 32, 3))
        label = tfds.features.ClassLabel(num_classes=10)
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict({"image": image, "label": label}),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        return {"test": self._generate_examples()}

    def _generate_examples(self):
        for i in range(IMAGES):
            yield i, {"image": image_of(i, self.builder_config.name), "label": i * i % 10}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """Two corruptions, and three that are not whole."""
    folder = tmp_path_factory.mktemp("prepared")
    for config in Cifar10Corrupted.BUILDER_CONFIGS:
        Cifar10Corrupted(config=config, data_dir=folder).download_and_prepare()
    own = folder / "cifar10_corrupted"
    for severity in SEVERITIES:
        for name in ("fog", "snow"):
            shutil.copytree(own / f"brightness_{severity}", own / f"{name}_{severity}")
    shutil.rmtree(own / "fog_5")
    (own / "snow_3" / "1.0.0" / "dataset_info.json").unlink()
    (own / "frost_1").mkdir()
    return folder


@pytest.fixture
def data_dir(prepared, monkeypatch) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))


@pytest.mark.usefixtures("data_dir")
def test_only_corruptions_of_every_severity_are_found():
    assert find_prepared() == ["glass_blur", "brightness"]


@pytest.mark.parametrize("there", [False, True], ids=["no folder", "no such set"])
def test_nothing_is_found_where_nothing_lies(tmp_path, monkeypatch, there):
    folder = tmp_path / "sets"
    if there:
        folder.mkdir()
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
    assert find_prepared() == []
    assert folder.exists() == there


@pytest.mark.parametrize("count", [IMAGES, 20])
@pytest.mark.usefixtures("data_dir")
def test_every_cell_has_the_right_images_and_labels_of_the_same_draw(count):
    corrupted, drawn = read_prepared(count, seed=5), set()
    for name, code in {"brightness": 1, "glass_blur": 2}.items():
        for severity in (1, 3, 5):
            batches, labels = corrupted(name, severity)
            batches = list(batches)
            assert max(map(len, batches)) <= BATCH
            images = np.concatenate(batches)
            assert images.shape == (count, 32, 32, 3)
            assert images.dtype == np.uint8
            numbers = images[:, 0, 0, 0].astype(int)
            np.testing.assert_array_equal(labels, numbers**2 % 10)
            assert labels.dtype == np.int64
            colours = images - np.uint8([0, severity, code])
            np.testing.assert_array_equal(colours, images * np.uint8([1, 0, 0]))
            assert len(set(numbers.tolist())) == count
            drawn.add(tuple(numbers.tolist()))
    assert len(drawn) == 1


@pytest.mark.usefixtures("data_dir")
def test_another_seed_draws_others():
    numbers = [
        np.concatenate(list(read_prepared(20, seed)("brightness", 1)[0]))[:, 0, 0, 0].tolist()
        for seed in (0, 0, 1)
    ]
    assert numbers[0] == numbers[1] != numbers[2]


@pytest.mark.parametrize("place", ["~/sets", None])
def test_the_home_directory_is_understood(prepared, tmp_path, monkeypatch, place):
    monkeypatch.setenv("HOME", str(tmp_path))
    if place:
        monkeypatch.setenv("TFDS_DATA_DIR", place)
    else:
        monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    (tmp_path / ("sets" if place else "tensorflow_datasets")).symlink_to(prepared)
    assert find_prepared() == ["glass_blur", "brightness"]
    batches, _ = read_prepared(3, seed=0)("brightness", 2)
    assert [images.shape for images in batches] == [(3, 32, 32, 3)]
