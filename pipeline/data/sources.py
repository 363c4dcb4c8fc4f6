"""Where labelled images come from: scikit-learn's digits, a folder, or TensorFlow Datasets."""

from dataclasses import replace
from pathlib import Path

from pipeline.config.settings import DataConfig
from pipeline.data.decoding.image_formats import ALL, BASIC
from pipeline.data.digits import load_digits
from pipeline.data.folders.folder import load_folder
from pipeline.data.table import EncodedImages, Source
from pipeline.data.tfds import load_tfds


def load_source(config: DataConfig) -> Source:
    """Load the table of images that `config.data` names, with how training reads it.

    Raises:
        UserError: see `_load`.
    """
    source = _load(config)
    if not isinstance(source.images, EncodedImages):
        return source
    return replace(source, images=replace(source.images, quick=config.quick_reading))


def _load(config: DataConfig) -> Source:
    """Load the table of images that `config.data` names.

    Raises:
        UnavailableData: a TFDS set that is neither prepared nor can be downloaded.
        UserError: an unknown name, a set that is not of labelled images, or damaged files.
    """
    if config.data == "digits":
        return load_digits()
    if config.data.startswith("folder:"):
        folder = Path(config.data.removeprefix("folder:"))
        formats = ALL if config.image_formats == "all" else BASIC
        bad_share = config.max_bad_share
        by_pixels = config.duplicates == "pixels"
        return load_folder(
            folder, max_bad_share=bad_share, reading=config.reading, formats=formats, by_pixels=by_pixels
        )
    return load_tfds(config.data, config.reading)
