"""Each kind of network trains, and its int8 file computes in integers what Keras computes."""

import contextlib
import dataclasses
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from export.convert.converter import Converter
from export.convert.network import (
    build_inference_network,
    with_convolutions_for_norms,
    write_single_image_graph,
)
from export.convert.slim import slim_down
from export.quantize.calibration_images import CalibrationImages
from export.quantize.strategies import Strategy
from export.verify import micro
from export.verify.operations import verify_built_in, verify_integer_only
from pipeline.config.architectures import (
    ARCHITECTURES,
    EFFICIENTNET_LITE0,
    Architecture,
    DenseArchitecture,
    LargeImageArchitecture,
    MobileArchitecture,
    ResidualArchitecture,
    VGGArchitecture,
)
from pipeline.config.presets import preset
from pipeline.data.batches import build_evaluation_batches
from pipeline.run_directory import RunDirectory
from pipeline.tflite.file import TFLiteFile
from pipeline.tflite.interpreter import Interpreter
from pipeline.training.networks import build_deployed_network
from pipeline.training.resolve import Ground, prepare_ground, resolve
from pipeline.training.run import TrainingRun, training_batches
from pipeline.training.train import open_run

CONFIG = preset("digits").with_values(
    {
        "epochs": 1,
        "peak_learning_rate": 0.2,
        "crop_padding": 0,
        "rotation": 0.0,
        # A weight that no gradient reaches then stays as it is.
        "weight_decay": 0.0,
        "devices": "cpu",
    }
)


def without_repeats(name: str) -> Architecture:
    """A network with a block that changes shape and one that does not; size repeats them.

    One is deeper, resnet20: what 9 blocks round adds up.
    """
    found = ARCHITECTURES[name]
    if isinstance(found, MobileArchitecture):
        # Blocks without and with expansion, with strides and without, with both sizes of kernels.
        return dataclasses.replace(found, stages=EFFICIENTNET_LITE0.stages[:3:2], top_width=64)
    if isinstance(found, DenseArchitecture):
        return dataclasses.replace(found, blocks=(2, 1))
    if isinstance(found, VGGArchitecture):
        # Down to a single position: the mean over more would hide the digit from a network without norms.
        return dataclasses.replace(found, convolutions=(2, 1, 1, 1, 1))
    if not isinstance(found, ResidualArchitecture):
        return found
    blocks = (3, 3, 3) if found.shortcut == "zero_padding" else (2, 1)
    return dataclasses.replace(found, blocks=blocks, width=64, groups=min(found.groups, 4))


COMBINED = {without_repeats(name) for name in ("resnet50", "resnet50d")}
"""Bottlenecks are also resnext50's, and pooling shortcuts resnet18d's."""

KINDS = {
    kind: name
    for name in reversed(ARCHITECTURES)
    # Of ResNets with option A the one that is in `MICRO` as well.
    if (kind := without_repeats(name)) not in COMBINED and name != "resnet14"
}
"""One name for each network that differs from the others in more than its size."""

FOR_LARGE_IMAGES = [name for kind, name in KINDS.items() if isinstance(kind, LargeImageArchitecture)]

LARGE_STEMS = {"resnet18d": "deep", "resnet18": "imagenet", "preresnet18": "imagenet"}
"""Network -> its stem; all others that have one begin with that of small images."""

NARROWEST = {"wrn_28_10": 16, "mlp": 16, "vgg16": 16}
"""Width of those that with 8 channels would be no wide network, fit any arena, or learn too slowly."""

SMALL, LARGE = 8, 32
"""Sizes in pixels: the digits' own, and one that leaves as much behind a large stem."""

IMAGES = 64
"""Real images that calibrate and are compared, so that no activation is beyond its range."""

MICRO = ("resnet20", "resnet18d", "resnext50", "preresnet18", "plain18", "mlp", "convnet", *FOR_LARGE_IMAGES)
"""Zeros as channels, pooling, groups, norms before convolutions, no shortcuts, no residuals, depthwise."""

needs_micro = pytest.mark.skipif(
    not find_spec("tflite_micro"), reason="the package tflite_micro is not installed"
)


@dataclass(frozen=True)
class Exported:
    """A network, how it was trained, and its int8 file.

    Attributes:
        losses: of each step.
        unmoved: paths of the trainable weights that are as they were.
        layers: names of the network's layers and operations.
        images: uint8 [images, size, size, 3].
        expected: the Keras network's scores of them.
        named: the int8 file with its tensors' names.
        file: the slim one.
    """

    losses: list[float]
    unmoved: list[str]
    layers: list[str]
    images: np.ndarray
    expected: np.ndarray
    named: TFLiteFile
    file: TFLiteFile


@pytest.fixture(scope="module")
def grounds() -> dict[int, Ground]:
    """Digits of their own size, and enlarged."""
    return {s: prepare_ground(CONFIG.with_values({"image_size": s})) for s in (SMALL, LARGE)}


@pytest.fixture(scope="module", params=KINDS.values())
def exported(request, grounds, tmp_path_factory) -> Exported:
    """A network, narrow, after an epoch of digits."""
    name = request.param
    ground = grounds[LARGE if name in (*LARGE_STEMS, *FOR_LARGE_IMAGES) else SMALL]
    model = {"model": name, "width": NARROWEST.get(name, 8), "stem": LARGE_STEMS.get(name, "auto")}
    directory = RunDirectory(tmp_path_factory.mktemp("family") / "run")
    with shortened(name), directory.open():
        run = open_run(resolve(CONFIG.with_values(model), ground), directory)
        return train_and_export(run, tmp_path_factory.mktemp("graph"))


@contextlib.contextmanager
def shortened(name: str) -> Iterator[None]:
    """Leave out blocks that only repeat others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ARCHITECTURES, name, without_repeats(name))
        yield


def train_and_export(run: TrainingRun, graph: Path) -> Exported:
    before = [weight.numpy() for weight in run.model.trainable_weights]
    losses = train(run)
    unmoved = [
        weight.path
        for weight, old in zip(run.model.trainable_weights, before, strict=True)
        if np.array_equal(weight.numpy(), old)
    ]
    resolved = run.resolved
    deployed = build_deployed_network(resolved.config, resolved.classes, resolved.ground.statistics)
    deployed.set_weights(run.model.get_weights())
    network = build_inference_network(deployed, "logits")
    names = [operation.name for operation in network.operations]
    write_single_image_graph(network, graph)
    images = real_images(run)
    strategy = Strategy(CalibrationImages(images, "", 0), "int8", slim=False)
    named = strategy.quantize(Converter(graph, names).float32(), images)
    expected = network.predict_on_batch(images)
    return Exported(losses, unmoved, names, images, expected, named, slim_down(named))


def train(run: TrainingRun) -> list[float]:
    """Train for the whole epoch, a step at a time; the loss of each."""
    total = run.resolved.total_steps
    batches = training_batches(run.resolved, 0, total)
    steps = run.model.fit(batches, epochs=total, steps_per_epoch=1, shuffle=False, verbose=0)
    return steps.history["loss"]


def real_images(run: TrainingRun) -> np.ndarray:
    examples = run.resolved.ground.data.examples("calibration").spread(IMAGES)
    batches = build_evaluation_batches(examples, global_batch_size=IMAGES, replicas=1)
    images, *_ = next(batches.as_numpy_iterator())
    return np.rint(images).astype(np.uint8)


def test_it_learns_with_all_its_weights(exported):
    # At chance, about ln 10, the mean of three batches of 64 varies by some hundredths.
    assert np.mean(exported.losses[-3:]) < 0.9 * np.mean(exported.losses[:3])
    assert exported.unmoved == []


def test_its_file_has_integers_and_built_in_operations_only(exported):
    graph = exported.file.graph
    verify_built_in(graph)
    verify_integer_only(graph)
    assert (graph.input.dtype, graph.output.dtype) == ("int8", "int8")
    # All that is left of normalisation is that of the pixels.
    assert [operation.name for operation in graph.operations].count("MUL") == 1


def test_its_file_gives_the_scores_of_keras_up_to_rounding(exported):
    """Rounding to a grid of step d errs by d / sqrt(12) (Nagel et al. 2021, section 2.1).

    Each of n weighted layers rounds its weights and its activations. Were every rounding as large
    a share of the scores as it is of the range where it happens, and were they independent, scores
    would be off by sqrt(2 n / 12) of their own steps. Twice that, as ranges differ in what they are
    for: rare values widen some.
    """
    model = Interpreter(exported.file.content)
    scores = model.predict(exported.images)
    step, _ = model.output["quantization"]
    weighted = sum(op.multiply_adds > 0 for op in exported.file.graph.operations)
    error = np.sqrt(np.mean((scores - exported.expected) ** 2)) / step
    assert error < 2 * np.sqrt(2 * weighted / 12)
    # Scores that stand for something spread over many steps; few images then lie so near to
    # the border of two classes that some steps decide.
    assert exported.expected.std() > 10 * step
    assert np.mean(scores.argmax(axis=-1) == exported.expected.argmax(axis=-1)) >= 0.9


@pytest.mark.parametrize("reference", [False, True])
def test_its_slim_file_gives_the_bits_of_the_named_one(exported, reference):
    files = exported.named, exported.file
    scores = [Interpreter(file.content, reference=reference).predict(exported.images) for file in files]
    np.testing.assert_array_equal(*scores)


@needs_micro
@pytest.mark.parametrize("exported", MICRO, indirect=True)
def test_a_microcontroller_computes_the_same_bits(exported):
    result = micro.verify_on_micro(exported.file, exported.images)
    assert isinstance(result, micro.MicroResult), result


@needs_micro
@pytest.mark.parametrize("exported", ["mlp"], indirect=True)
def test_an_arena_too_small_says_nothing_against_the_file(exported):
    """Of 6,144 to 6,224 bytes TensorFlow Lite Micro ends the process that it loads this file in."""
    with ProcessPoolExecutor(1, get_context("spawn")) as child:
        least, _ = child.submit(micro._measure_arena, exported.file.content).result()
    smaller = range(least - 32 * micro.ARENA_ALIGNMENT, least, micro.ARENA_ALIGNMENT)
    with ProcessPoolExecutor(1, get_context("spawn")) as child:
        assert not any(child.map(micro._fits, repeat(exported.file.content), smaller))
        assert child.submit(micro._fits, exported.file.content, least).result()


def test_a_norm_that_nothing_folds_becomes_a_convolution():
    rng = np.random.default_rng(0)
    pixels = keras.Input((6, 9, 3), name="pixels")
    both = layers.Conv2D(4, 3, padding="same", name="read_by_both")(pixels)
    x = layers.BatchNormalization(name="lone_norm1")(both)
    x = layers.Conv2D(4, 3, padding="same", name="read_by_norm")(layers.ReLU(name="relu")(x))
    x = layers.BatchNormalization(name="folded_norm")(x)
    x = layers.BatchNormalization(name="lone_norm2")(layers.Add(name="add")([both, x]))
    network = keras.Model(pixels, x, name="net")
    network.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in network.get_weights()])
    replaced = with_convolutions_for_norms(network)
    kinds = {
        "lone_norm1": layers.DepthwiseConv2D,
        "lone_norm2": layers.DepthwiseConv2D,
        "folded_norm": layers.BatchNormalization,
    }
    assert {name: type(replaced.get_layer(name)) for name in kinds} == kinds
    assert {type(network.get_layer(name)) for name in kinds} == {layers.BatchNormalization}
    images = rng.uniform(0, 1, (5, 6, 9, 3))
    # Float32 keeps seven digits, through six layers.
    np.testing.assert_allclose(
        replaced.predict(images, verbose=0), network.predict(images, verbose=0), rtol=1e-5
    )
