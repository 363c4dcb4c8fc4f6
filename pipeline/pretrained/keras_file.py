"""Weights of Keras: a layer's arrays, a `.keras` file of this pipeline, a finished run."""

import zipfile
from pathlib import Path

import keras
import numpy as np

from pipeline.errors import UserError
from pipeline.models.names import NORMALIZATION, shortcut_of
from pipeline.pretrained.weights import NORM_EPSILON, Pretrained
from pipeline.run_directory import RunDirectory


def load_keras_file(path: Path) -> keras.Model:
    """Load a whole model, without its optimizer.

    Raises:
        UserError: it is missing, damaged, or has layers that this Keras does not know.
    """
    try:
        check_archive(path)
        return keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} must be a whole Keras model; {reason}") from error


def check_archive(path: Path) -> None:
    """Hold a zip archive to its checksums; damaged weights would be weights still.

    PyTorch looks at none. Keras' reading ends without them where Python's `zipfile` seeks, as it
    does in releases after 3.11.

    Raises:
        BadZipFile: it is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"{damaged} in it is damaged")


def layer_arrays(layer: keras.Layer) -> list[np.ndarray]:
    """Return a layer's float32 arrays in Keras' order, a norm's as those of epsilon 1e-5.

    A norm divides by sqrt(variance + epsilon), so that a difference of epsilons moves into the
    variance and leaves the result what it was.
    """
    arrays = [np.asarray(array, np.float32) for array in layer.get_weights()]
    if isinstance(layer, keras.layers.BatchNormalization) and layer.epsilon != NORM_EPSILON:
        arrays[-1] = arrays[-1] + np.float32(layer.epsilon - NORM_EPSILON)
    return arrays


def read_keras_file(path: Path) -> Pretrained:
    """Read a network of this pipeline, its normalisation included.

    Raises:
        UserError: the file is damaged, or its network does not begin with a normalisation.
    """
    network = load_keras_file(path)
    layers = {layer.name: layer for layer in network.layers}
    normalization = layers.pop(NORMALIZATION, None)
    if not isinstance(normalization, keras.layers.Normalization):
        raise UserError(
            "a .keras file of --weights must be a network of this pipeline, with a Normalization "
            f"called {NORMALIZATION!r}; received {path}"
        )
    mean, variance = (
        np.asarray(values, np.float64).ravel() for values in (normalization.mean, normalization.variance)
    )
    return Pretrained(
        origin=f"{network.name} of {path}",
        layers={name: layer_arrays(layer) for name, layer in layers.items() if layer.weights},
        shortcut=shortcut_of(layers),
        mean=tuple(mean.tolist()),
        std=tuple(np.sqrt(variance).tolist()),
    )


def read_run(path: Path) -> Pretrained:
    """Read the network that a finished run left.

    Raises:
        UserError: the run is missing, unfinished or of another version, or its network is damaged.
    """
    directory = RunDirectory(path)
    directory.load_finished()
    return read_keras_file(directory.model)
