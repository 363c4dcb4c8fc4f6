"""What benchmarks.inference measures: the same network in each runtime, an image at a time.

The weights are random and the images noise: the work is the same whatever the numbers are. Each
contender has its input encoded beforehand.
"""

import logging
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Measure
from pipeline.console.quiet_start import load_tensorflow_quietly
from pipeline.tflite.interpreter import Interpreter

CLASSES, IMAGES = 10, 16
PIXEL_MEAN, PIXEL_DEVIATION = 127.5, 73.9


def images(size: int) -> np.ndarray:
    """Draw the images that all contenders see, uint8 [16, size, size, 3]."""
    return np.random.default_rng(0).integers(0, 256, (IMAGES, size, size, 3), np.uint8)


def channels_first(images: np.ndarray) -> list[np.ndarray]:
    """Turn images into batches of one, float32 [1, 3, height, width]."""
    planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)
    return [plane[None] for plane in planes]


def write_our_files(folder: Path, width: int, size: int) -> str:
    """Write network.keras, float32.tflite and int8.tflite; return the stem of the network.

    Raises:
        UserError: the images are too small for the network.
    """
    load_tensorflow_quietly()
    from export.convert.converter import Converter, quantize_to_int8
    from export.convert.network import write_single_image_graph
    from export.quantize.ranges import Calibrator
    from pipeline.config.settings import ModelConfig
    from pipeline.models import build_model, resolve_model

    model = ModelConfig(width=width)
    network = build_model(
        model,
        input_shape=(size, size, 3),
        classes=CLASSES,
        pixel_mean=[PIXEL_MEAN] * 3,
        pixel_std=[PIXEL_DEVIATION] * 3,
        seed=0,
    )
    network.save(folder / "network.keras")
    write_single_image_graph(network, folder / "graph")
    float32 = Converter(folder / "graph", [layer.name for layer in network.layers]).float32()
    (folder / "float32.tflite").write_bytes(float32.content)
    ranges = Calibrator(float32, images(size)).full
    (folder / "int8.tflite").write_bytes(quantize_to_int8(float32, ranges).content)
    return resolve_model(model, size).stem


def torch_network(width: int, stem: str) -> Any:
    """Build the peer, a Module from pixels in [0, 255], float32 [batch, 3, height, width]."""
    from torch import nn

    from benchmarks.torch_resnet import build_torch_resnet

    normalization = nn.BatchNorm2d(3, affine=False)
    assert normalization.running_mean is not None
    assert normalization.running_var is not None
    normalization.running_mean.fill_(PIXEL_MEAN)
    normalization.running_var.fill_(PIXEL_DEVIATION**2)
    return nn.Sequential(normalization, build_torch_resnet("resnet18", width, CLASSES, stem)).eval()


def write_onnx_files(folder: Path, width: int, size: int, stem: str) -> None:
    """Write the peer as float32.onnx and, quantised statically, as int8.onnx.

    Weights are int8 and activations uint8, as ONNX Runtime's documentation advises for x86
    ("Quantize ONNX models", "Data type selection").
    """
    import torch
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    logging.disable(logging.WARNING)
    names = ("float32.onnx", "prepared.onnx", "int8.onnx")
    float32, prepared, int8 = (str(folder / name) for name in names)
    batches = channels_first(images(size))
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        # The newer exporter would need onnxscript besides.
        network, example = torch_network(width, stem), (torch.from_numpy(batches[0]),)
        torch.onnx.export(network, example, float32, input_names=["pixels"], dynamo=False)

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._batches = iter(batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self._batches, None)
            return None if batch is None else {"pixels": batch}

    # Without it, batch norms stay unfolded and biases in float: slower than float32.
    quant_pre_process(float32, prepared)
    unsigned = quantization.QuantType.QUInt8
    quantization.quantize_static(prepared, int8, Reader(), per_channel=True, activation_type=unsigned)


def measuring(run: Callable[[Any], Any], batches: Sequence[Any], seconds: float) -> Measure:
    """Warm up, and return what measures for so long and gives the rate of the median run.

    On a shared machine other work strikes single runs; the median leaves them out.
    """
    for batch in batches:
        run(batch)

    def measure() -> float:
        times: list[float] = []
        elapsed, in_turn = 0.0, cycle(batches)
        while elapsed < seconds:
            batch = next(in_turn)
            start = time.perf_counter()
            run(batch)
            times.append(time.perf_counter() - start)
            elapsed += times[-1]
        return 1 / statistics.median(times)

    return measure


def keras_predict(file: Path, size: int, seconds: float) -> Measure:
    """Build `model.predict`."""
    network, batches = _load_keras(file, size)
    return measuring(lambda batch: network.predict(batch, verbose=0), batches, seconds)


def keras_call(file: Path, size: int, seconds: float) -> Measure:
    """Build `model(x)`, which runs one operation after the other from Python."""
    network, batches = _load_keras(file, size)
    import keras

    tensors = [keras.ops.convert_to_tensor(batch) for batch in batches]
    return measuring(lambda batch: network(batch, training=False), tensors, seconds)


def _load_keras(file: Path, size: int) -> tuple[Any, list[np.ndarray]]:
    load_tensorflow_quietly()
    import keras

    network = keras.models.load_model(file, compile=False)
    return network, [image[None].astype(np.float32) for image in images(size)]


def tflite(file: Path, size: int, seconds: float, threads: int) -> Measure:
    """Build LiteRT with its default delegate."""
    model = Interpreter(file.read_bytes(), threads=threads)
    return measuring(model.run, [model.encode(image[None]) for image in images(size)], seconds)


def torch_eager(width: int, stem: str, size: int, seconds: float, threads: int) -> Measure:
    """Build PyTorch, eager and channels-last."""
    import torch

    torch.set_num_threads(threads)
    network = torch_network(width, stem).to(memory_format=torch.channels_last)
    batches = [
        torch.from_numpy(batch).contiguous(memory_format=torch.channels_last)
        for batch in channels_first(images(size))
    ]
    return measuring(torch.inference_mode()(network), batches, seconds)


def onnx(file: Path, size: int, seconds: float, threads: int) -> Measure:
    """Build ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    batches = [{"pixels": batch} for batch in channels_first(images(size))]
    return measuring(lambda batch: session.run(None, batch), batches, seconds)
