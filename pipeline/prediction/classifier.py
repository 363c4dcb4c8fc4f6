"""Images in, classes and probabilities out, whatever kind of file answers."""

import io
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from scipy.special import softmax

from pipeline.config.reading import Reading
from pipeline.console.quiet_start import hold_back_notices
from pipeline.data.decoding.resize import read_image
from pipeline.data.folders.check import check_file, check_stream
from pipeline.errors import UserError
from pipeline.models.names import NORMALIZATION
from pipeline.prediction.image_files import BATCH
from pipeline.prediction.model_file import ModelFile
from pipeline.pretrained.keras_file import load_keras_file
from pipeline.tflite.file import TFLiteFile

ImageLike = str | os.PathLike[str] | bytes | Image.Image | np.ndarray
"""A path, the content of a file, an image of Pillow, or uint8 [height, width], [height, width, 3] or
[height, width, 4].

One of Pillow is turned upright as a file is, by the EXIF data that it was opened with.
"""

PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
"""Modes of Pillow that a PNG holds as they are."""

WITH_ALPHA = {"PA": "RGBA", "RGBa": "RGBA", "La": "LA"}
"""Others with transparency -> those that keep it."""


@dataclass(frozen=True)
class Predictions:
    """What a network answers for some images.

    Attributes:
        class_names: label -> name.
        probabilities: float32 [images, classes]; each row adds up to 1.
    """

    class_names: tuple[str, ...]
    probabilities: np.ndarray

    @property
    def classes(self) -> list[str]:
        """The most probable class of each image; of equals the first."""
        return [self.class_names[label] for label in self.probabilities.argmax(axis=1)]


@dataclass(frozen=True)
class Classifier:
    """A network that answers for images of any size.

    Attributes:
        class_names: label -> name.
        image_size: side of the squares that the network sees, pixels.
        reading: how image files become such squares.
        predict: from uint8 [images, image_size, image_size, 3] to probabilities, float32
            [images, classes].
        network: the Keras network, pixels to logits; None of a .tflite file.
    """

    class_names: tuple[str, ...]
    image_size: int
    reading: Reading
    predict: Callable[[np.ndarray], np.ndarray]
    network: keras.Model | None = None

    def __call__(self, images: ImageLike | Sequence[ImageLike]) -> Predictions:
        """Classify images, decoded and resized as in training.

        Args:
            images: one or several; see `ImageLike`. Arrays are RGB, RGBA (composited over white)
                or grey; uint8 [images, height, width, 3] is several.

        Raises:
            UserError: a file cannot be read, or an array is of another type or shape.
        """
        several = _as_list(images)
        rows = [np.zeros((0, len(self.class_names)), np.float32)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(0, len(several), BATCH):
                pixels = list(pool.map(self.read, several[start : start + BATCH]))
                rows.append(self.predict(np.stack(pixels)))
        return Predictions(self.class_names, np.concatenate(rows))

    def read(self, image: ImageLike) -> np.ndarray:
        """Decode and resize an image, uint8 [image_size, image_size, 3].

        Raises:
            UserError: a file cannot be read, or an array is of another type or shape.
        """
        content = _as_file(image)
        with tf.device("CPU"):  # where training decodes
            return read_image(content, self.image_size, self.reading).numpy()


def _as_list(images: ImageLike | Sequence[ImageLike]) -> list[ImageLike]:
    is_one = isinstance(images, str | os.PathLike | bytes | Image.Image) or not isinstance(images, Iterable)
    if is_one or (isinstance(images, np.ndarray) and images.ndim <= 3):
        return [cast(ImageLike, images)]
    return list(cast(Sequence[ImageLike], images))


def _as_file(image: ImageLike) -> bytes:
    """Return the encoded file: what training decodes is decoded in one way, wherever it comes from."""
    if isinstance(image, str | os.PathLike):
        if problem := check_file(os.fsencode(image)).problem:
            raise UserError(f"an image must be readable; {image}: {problem}")
        return Path(image).read_bytes()
    if isinstance(image, bytes):
        if problem := check_stream(io.BytesIO(image)).problem:
            raise UserError(f"an image must be readable; {problem}")
        return image
    if isinstance(image, np.ndarray):
        image = _from_array(image)
    if not isinstance(image, Image.Image):
        raise UserError(f"an image must be a path, an array or Pillow's; received {type(image).__name__}")
    if image.mode in ("F", "I"):
        raise UserError(f"an image must have 8 or 16 bits a sample; received Pillow's mode {image.mode!r}")
    encoded = io.BytesIO()
    _as_png_mode(image).save(encoded, "png", compress_level=0, exif=image.info.get("exif"))
    return encoded.getvalue()


def _as_png_mode(image: Image.Image) -> Image.Image:
    """Return an image of the same pixels in one of `PNG_MODES`."""
    if image.mode in PNG_MODES:
        return image
    if image.mode.startswith("I;16"):
        # Pillow itself would cut off all above 255.
        return Image.fromarray(np.asarray(image).astype(np.uint16))
    return image.convert(WITH_ALPHA.get(image.mode, "RGB"))


def _from_array(array: np.ndarray) -> Image.Image:
    channels = array.shape[2:]
    if (
        array.dtype != np.uint8
        or array.ndim not in (2, 3)
        or channels not in ((), (3,), (4,))
        or not array.size
    ):
        raise UserError(
            "an array must be uint8 [height, width], [height, width, 3] or [height, width, 4]; received "
            f"{array.dtype} {list(array.shape)}"
        )
    return Image.fromarray(array)


def build_classifier(model: ModelFile) -> Classifier:
    """Load a network.

    Raises:
        UserError: it is damaged, no image classifier of this pipeline, or not the one that its
            folder describes.
    """
    load = _load_keras if model.path.suffix == ".keras" else _load_tflite
    loaded = load(model)
    classes = loaded.classes
    names = model.class_names or tuple(map(str, range(classes)))
    if len(names) != classes:
        raise UserError(
            f"{model.path} must have a name for each of its {classes} classes; received {len(names)}"
        )
    return Classifier(names, loaded.image_size, model.reading, loaded.predict, loaded.network)


class _Loaded(NamedTuple):
    """What a file holds; see `Classifier`."""

    image_size: int
    classes: int
    predict: Callable[[np.ndarray], np.ndarray]
    network: keras.Model | None = None


def _load_keras(model: ModelFile) -> _Loaded:
    network = load_keras_file(model.path)
    shape, scores = network.input_shape, network.output_shape
    if NORMALIZATION not in {layer.name for layer in network.layers} or not _fits(shape, scores):
        raise UserError(
            f"a .keras file must be a network of this pipeline, from square images to logits; received "
            f"{model.path}"
        )
    return _Loaded(shape[1], scores[-1], _probabilities_of(network), network)


def _probabilities_of(network: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    # Of any number of images: the last batch is a smaller one.
    @tf.function(input_signature=[tf.TensorSpec(network.input_shape, tf.uint8)])
    def probabilities(pixels: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(tf.cast(network(pixels, training=False), tf.float32))

    return lambda pixels: probabilities(pixels).numpy()


def _load_tflite(model: ModelFile) -> _Loaded:
    try:
        file = TFLiteFile(model.path.read_bytes())
    except OSError as error:
        raise UserError(f"{model.path} must be a readable .tflite file; {error.strerror}") from None
    if model.crc32 is not None and file.crc32 != model.crc32:
        raise UserError(
            f"a .tflite file must be as it was exported, with the CRC-32 {model.crc32!r}; {model.path} has "
            f"{file.crc32}"
        )
    try:
        with hold_back_notices():
            graph = file.graph
    except Exception:  # of a damaged file the reader of FlatBuffers raises nearly every kind
        raise UserError(f"{model.path} must be a whole .tflite file") from None
    shape, scores = graph.input.shape, graph.output.shape
    if not _fits(shape, scores) or shape[0] != 1:
        raise UserError(f"{model.path} must take one square image; received the shape {list(shape)}")

    def predict(pixels: np.ndarray) -> np.ndarray:
        answered = file.predict(pixels)
        return softmax(answered, axis=1) if model.scores == "logits" else answered

    return _Loaded(shape[1], scores[-1], predict)


def _fits(shape: Sequence[int | None], scores: Sequence[int | None]) -> bool:
    """Whether pixels of squares go in and one score a class comes out."""
    return len(shape) == 4 and shape[1] == shape[2] is not None and shape[3] == 3 and len(scores) == 2
