"""The images of a folder, resized and encoded once, written by TFDS' own writers."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from pipeline.config.settings import DataConfig
from pipeline.console.progress import Progress
from pipeline.data.batches import THREADS
from pipeline.data.decoding.decode import decode_image
from pipeline.data.decoding.resize import shrink_to
from pipeline.data.folders.folder import load_folder
from pipeline.data.table import EncodedImages, Source
from pipeline.errors import UserError

QUALITY = 95
"""Of the JPEGs, as TFDS has it where it encodes images itself."""


def write_shards(folder: Path, out: Path, side: int) -> None:
    """Write the images of a folder as a set that `tfds.load` and `--data` read.

    They are checked as before training; what cannot be used is left out. Each is turned upright and made
    smaller until its shorter side is `side`, where it is longer, and encoded as JPEG. Splits are those of
    the folder.

    Args:
        folder: of class folders, or of split folders with class folders.
        out: a new folder, called as the set.
        side: in pixels.

    Raises:
        UserError: the folder is no such, too much of it is damaged, or OUT cannot be written.
    """
    source = load_folder(folder, max_bad_share=DataConfig().max_bad_share)
    if source.problems:
        path, problem = source.problems[0]
        print(f"{len(source.problems):,} files are left out, the first {path}: {problem}")
    with Progress(len(source.labels), "writing images", "images") as progress:
        builder = _builder(source, out, side, progress)
        try:
            _prepare_quietly(builder)
        except OSError as error:
            shutil.rmtree(out, ignore_errors=True)
            raise UserError(f"OUT must be writable; {out}: {error.strerror or error}") from error
        except BaseException:
            shutil.rmtree(out, ignore_errors=True)
            raise


def _prepare_quietly(builder: tfds.core.DatasetBuilder) -> None:
    """Let TFDS write, without bars of its own; nothing is downloaded."""
    tfds.disable_progress_bar()
    builder.download_and_prepare(
        file_format="tfrecord", download_config=tfds.download.DownloadConfig(try_download_gcs=False)
    )


def _builder(source: Source, out: Path, side: int, progress: Progress) -> tfds.core.DatasetBuilder:
    """Describe the set to TFDS."""

    class Shards(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
        """A folder's images."""

        name = out.name
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> tfds.core.DatasetInfo:
            features = {
                "image": tfds.features.Image(encoding_format="jpeg"),
                "label": tfds.features.ClassLabel(names=source.class_names),
            }
            return tfds.core.DatasetInfo(
                builder=self,
                description=f"{source.name}, shorter sides of at most {side} pixels",
                features=tfds.features.FeaturesDict(features),
                supervised_keys=("image", "label"),
            )

        def _split_generators(self, dl_manager: object) -> dict[str, Any]:
            return {split: self._generate_examples(rows) for split, rows in source.provided.items()}

        def _generate_examples(self, rows: np.ndarray) -> Iterator[tuple[int, dict[str, Any]]]:
            for row, content in zip(rows.tolist(), _encode(source, rows, side), strict=True):
                progress.update(1)
                yield row, {"image": io.BytesIO(content), "label": int(source.labels[row])}

    return Shards(data_dir=out.parent)


def _encode(source: Source, rows: np.ndarray, side: int) -> Iterator[bytes]:
    """Resize and encode images in order, on all cores."""
    images = source.images
    assert isinstance(images, EncodedImages)

    def encode(row: tf.Tensor) -> tf.Tensor:
        small = shrink_to(decode_image(images.read(row)), side)
        return tf.io.encode_jpeg(small, format="rgb", quality=QUALITY)

    options = tf.data.Options()
    options.autotune.enabled = False
    encoded = tf.data.Dataset.from_tensor_slices(rows).map(encode, num_parallel_calls=THREADS)
    return encoded.prefetch(THREADS).with_options(options).as_numpy_iterator()
