"""From a float32 .onnx file to int8, by ONNX Runtime's own quantiser."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

from export.errors import ExportFailed
from export.onnx.file import PIXELS, OnnxFile

WEIGHTED = ("Conv", "Gemm", "MatMul")
"""Operators with weights."""


def quantize(float32: OnnxFile, images: np.ndarray) -> OnnxFile:
    """Quantise weights (int8, one scale a channel) and activations (uint8, one scale a tensor).

    Input and output stay float32. Static, in QDQ form: QuantizeLinear and DequantizeLinear stand around each
    operator, and ONNX Runtime computes what is between them in integers. Of the types its documentation
    advises these for x86 ("Quantize ONNX models", "Data type selection").

    Args:
        float32: the network in float32.
        images: of the calibration, uint8 [images, height, width, 3]; an activation's range is from the least
            to the greatest value that they give it.

    Raises:
        ExportFailed: an operator with weights is left in floating point.
    """
    with tempfile.TemporaryDirectory() as scratch:
        prepared, path = Path(scratch, "prepared.onnx"), Path(scratch, "int8.onnx")
        quant_pre_process(float32.model, str(prepared))
        quantization.quantize_static(
            str(prepared),
            str(path),
            _Images(images),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
        )
        file = OnnxFile(path.read_bytes())
    verify_quantized(file)
    return file


class _Images(quantization.CalibrationDataReader):
    """Images, one by one."""

    def __init__(self, images: np.ndarray) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._images, None)
        return None if image is None else {PIXELS: image[None].astype(np.float32)}


def verify_quantized(file: OnnxFile) -> None:
    """Check that each operator with weights has int8 weights, and activations that were quantised.

    Raises:
        ExportFailed: one computes in floating point.
    """
    graph = file.model.graph
    kinds = {constant.name: constant.data_type for constant in graph.initializer}
    writers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type not in WEIGHTED:
            continue
        sources = [writers[name] for name in node.input[:2] if name in writers]
        quantised = [source.op_type for source in sources] == ["DequantizeLinear"] * 2
        if not quantised or kinds.get(sources[1].input[0]) != onnx.TensorProto.INT8:
            raise ExportFailed(
                f"onnx_int8 must compute in integers; {node.op_type} {node.name!r} works on floats"
            )
