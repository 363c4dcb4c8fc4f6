"""Weights of Keras: a layer's arrays, a `.keras` file of this pipeline, a finished run."""

import zipfile
from pathlib import Path

import keras
import numpy as np

from pipeline.errors import UserError
from pipeline.files.json_file import read_json
from pipeline.files.regular import check_regular
from pipeline.models.names import NORMALIZATION, shortcut_of
from pipeline.pretrained.weights import NORM_EPSILON, Pretrained, change_epsilon
from pipeline.run_directory import RunDirectory


def load_keras_file(path: Path) -> keras.Model:
    """Load a whole model, without its optimizer.

    Raises:
        UserError: it is missing, damaged, has layers that this Keras does not know, or weights
            that are not finite.
    """
    try:
        check_regular(path)
        check_archive(path)
        network = keras.saving.load_model(path, compile=False)
    except Exception as error:
        # A damaged archive may make zipfile, h5py and Keras raise anything.
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"{path} must be a whole Keras model; {reason}") from error
    for weight in network.weights:
        if not np.isfinite(np.asarray(weight)).all():
            raise UserError(f"{path} must hold finite weights; {weight.path} is not")
    return network


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


def layer_arrays(layer: keras.Layer, epsilon: float = NORM_EPSILON) -> list[np.ndarray]:
    """Return a layer's float32 arrays in Keras' order, a norm's as one of `epsilon` needs them.

    Raises:
        UserError: a norm has a variance below 0.
    """
    arrays = [np.asarray(array, np.float32) for array in layer.get_weights()]
    if not isinstance(layer, keras.layers.BatchNormalization):
        return arrays
    if (lowest := arrays[-1].min()) < 0:
        raise UserError(f"a norm of --weights must have variances of at least 0; {layer.name} has {lowest:g}")
    return change_epsilon(arrays, layer.epsilon, epsilon)


def read_keras_file(path: Path) -> Pretrained:
    """Read a network of this pipeline, its normalisation included.

    The names of its classes are those that its run recorded, where it still lies in one.

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
    epsilons = {x.epsilon for x in layers.values() if isinstance(x, keras.layers.BatchNormalization)}
    epsilon = epsilons.pop() if len(epsilons) == 1 else NORM_EPSILON
    return Pretrained(
        origin=f"{network.name} of {path}",
        layers={name: layer_arrays(layer, epsilon) for name, layer in layers.items() if layer.weights},
        shortcut=shortcut_of(layers),
        mean=tuple(mean.tolist()),
        std=tuple(np.sqrt(variance).tolist()),
        class_names=_class_names(path, network.output_shape[-1]),
        norm_epsilon=epsilon,
    )


def _class_names(path: Path, classes: int) -> tuple[str, ...] | None:
    directory = RunDirectory(path.parent)
    is_runs_own = path.name == directory.model.name and directory.config.exists()
    if not (is_runs_own and directory.splits.exists()):
        return None
    names = read_json(directory.splits, {"class_names": list})["class_names"]
    if len(names) != classes:
        raise UserError(f"a run must name its {classes} classes; {directory.splits} names {len(names)}")
    return tuple(map(str, names))


def read_run(path: Path) -> Pretrained:
    """Read the network that a finished run left.

    Raises:
        UserError: the run is missing, unfinished or of another version, or its network is damaged.
    """
    directory = RunDirectory(path)
    directory.load_finished()
    return read_keras_file(directory.model)
