"""Small TFDS data sets whose every pixel and label follows from a formula."""

import io
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from tests.encodings import GREY, png

CLASS_NAMES = ("ant", "bee", "cat")


def label_of(split: str, i: int) -> int:
    """Label of example `i`."""
    return (i + len(split)) % len(CLASS_NAMES)


def image_of(split: str, i: int, height: int, width: int) -> np.ndarray:
    """uint8 [height, width, 3]: 7 y + 11 x + 40 channel + 13 i + 5 len(split) mod 256."""
    y, x, channel = np.ogrid[:height, :width, :3]
    return ((7 * y + 11 * x + 40 * channel + 13 * i + 5 * len(split)) % 256).astype(np.uint8)


def size_of(i: int) -> tuple[int, int]:
    """Height and width of example `i` of the sets with images of many sizes."""
    return 5 + i % 4, 6 + i % 3


def prepare(builder: type[tfds.core.DatasetBuilder], folder: Path, shards: int = 1) -> Path:
    """Prepare a set below `folder` without a network and return where it lies."""
    made = builder(data_dir=folder)
    made.download_and_prepare(
        download_config=tfds.download.DownloadConfig(num_shards=shards, try_download_gcs=False)
    )
    return Path(made.data_dir)


class TinyBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Base of the sets: `SIZES` of the splits, one image shape or none, some without labels."""

    VERSION = tfds.core.Version("1.0.0")
    SIZES = {"train": 40, "test": 9}  # noqa: RUF012
    SHAPE: tuple[int | None, int | None, int] = (None, None, 3)
    UNLABELLED: tuple[str, ...] = ()
    NAMES = CLASS_NAMES

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "name": tfds.features.Text(),
                    "image": tfds.features.Image(shape=self.SHAPE, encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=self.NAMES),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in self.SIZES}

    def _generate_examples(self, split):
        for i in range(self.SIZES[split]):
            height, width = size_of(i) if self.SHAPE[0] is None else self.SHAPE[:2]
            yield (
                i,
                {
                    "name": f"{split}/{i}",
                    "image": self._image(image_of(split, i, height, width)[:, :, : self.SHAPE[2]]),
                    "label": -1 if split in self.UNLABELLED else self._label(split, i),
                },
            )

    def _image(self, pixels: np.ndarray):
        return pixels

    def _label(self, split: str, i: int) -> int:
        return label_of(split, i)


class TinyVariable(TinyBuilder):
    """Images of many sizes, all three splits."""

    SIZES = {"train": 40, "validation": 7, "test": 9}  # noqa: RUF012


class TinyFixed(TinyBuilder):
    """Images of one size."""

    SHAPE = (4, 6, 3)


class TinyGrey(TinyBuilder):
    """Grey images of one size."""

    SHAPE = (4, 6, 1)


class TinyUnlabelledTest(TinyBuilder):
    """A test split without labels, as ImageNet's."""

    SIZES = {"train": 12, "validation": 5, "test": 9}  # noqa: RUF012
    UNLABELLED = ("test",)


class TinyUnlabelled(TinyFixed):
    """No labels at all."""

    UNLABELLED = ("train",)


class TinyUnreachable(TinyFixed):
    """Its download breaks off."""

    def _split_generators(self, dl_manager):
        raise OSError("connection\nlost")


class TinyOtherNames(TinyBuilder):
    """Splits under other names than train, validation and test, and more of them."""

    SIZES = {"Training": 12, "dev": 6, "test": 9, "extra": 3, "test_unlabelled": 2}  # noqa: RUF012


class TinyBothNames(TinyBuilder):
    """A validation split under its own name and one under another."""

    SIZES = {"train": 12, "val": 6, "validation": 5}  # noqa: RUF012


class TinyUnlabelledValidation(TinyBuilder):
    """A validation split without labels."""

    SIZES = {"train": 12, "valid": 5, "test": 9}  # noqa: RUF012
    UNLABELLED = ("valid",)


class TinyEmptyClasses(TinyBuilder):
    """Names 0 to 5 of which train has but 2 and 4, as EMNIST letters; test has 5 as well."""

    NAMES = ("0", "1", "2", "3", "4", "5")

    def _label(self, split: str, i: int) -> int:
        return (2, 4, 5 if split == "test" else 4)[i % 3]


class TinyOneClass(TinyEmptyClasses):
    """Train has images of one class alone."""

    def _label(self, split: str, i: int) -> int:
        return 1


class TinySameNames(TinyBuilder):
    """Two names of classes that print the same."""

    NAMES = ("caf\u00e9", "cafe\u0301", "tea")


class TinyDeep(TinyBuilder):
    """Images of a 12-bit camera in PNG of 16 bits, of many sizes."""

    BRIGHTEST = 4095

    def _image(self, pixels: np.ndarray) -> io.BytesIO:
        deep = np.round(pixels[..., 0] / pixels[..., 0].max() * self.BRIGHTEST)
        return io.BytesIO(png(deep, 16, GREY))


class TinyDeepFixed(TinyDeep):
    """The same of one size."""

    SHAPE = (4, 6, 3)


class TinyDeepBright(TinyDeepFixed):
    """Images that use the whole range."""

    BRIGHTEST = 65535


class TinyOnlyTest(TinyBuilder):
    """No train split."""

    SIZES = {"test": 9}  # noqa: RUF012


class TinyText(TinyBuilder):
    """No images."""

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(names=CLASS_NAMES)}
            ),
            supervised_keys=("text", "label"),
        )

    def _generate_examples(self, split):
        for i in range(self.SIZES[split]):
            yield i, {"text": str(i), "label": label_of(split, i)}
