"""The one place that calls the TFLite converter, which is moving between packages."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from tensorflow.compiler.mlir.lite.types_pb2 import QUANTIZED_INT8
from tensorflow.lite.python.convert import mlir_quantize
from tensorflow.lite.python.convert_phase import ConverterError
from tensorflow.lite.python.util import modify_model_io_type

from export.errors import ExportFailed
from pipeline.console.quiet_start import hold_back_notices
from pipeline.tflite.constants import pack
from pipeline.tflite.file import TFLiteFile
from pipeline.tflite.graph import layer_of


@dataclass(frozen=True)
class Range:
    """Least and greatest value that a tensor's int8 levels are to cover."""

    low: float
    high: float


class Converter:
    """Turns the graph of one network into TFLite files of built-in operations.

    Args:
        graph: what `write_single_image_graph` wrote.
        layers: names of the Keras model's layers and operations.
    """

    def __init__(self, graph: Path, layers: Collection[str]) -> None:
        self._graph, self._layers = graph, tuple(layers)

    def float32(self) -> TFLiteFile:
        """Convert as trained.

        Raises:
            ExportFailed: an operation has no built-in form in TFLite.
        """
        return self._convert(self._converter())

    def float16(self) -> TFLiteFile:
        """Convert with weights in float16, which kernels without it widen to float32."""
        converter = self._converter()
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
        return self._convert(converter)

    def dynamic(self) -> TFLiteFile:
        """Convert with weights in int8 and activations quantised image by image."""
        converter = self._converter()
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        return self._convert(converter)

    def int16(self, images: Iterable[np.ndarray]) -> TFLiteFile:
        """Convert with weights in int8 and activations in int16.

        Args:
            images: calibration images, each [height, width, 3] in [0, 255].
        """
        converter = self._converter()
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([i[None].astype(np.float32)] for i in images)
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        ]
        converter.inference_input_type = converter.inference_output_type = tf.int16
        return self._convert(converter)

    def _converter(self) -> tf.lite.TFLiteConverter:
        return tf.lite.TFLiteConverter.from_saved_model(str(self._graph))

    def _convert(self, converter: tf.lite.TFLiteConverter) -> TFLiteFile:
        with hold_back_notices():
            try:
                return TFLiteFile(converter.convert(), self._layers)
            except ConverterError as error:
                failure = error
        raise ExportFailed(self._explain(failure)) from failure

    def _explain(self, error: ConverterError) -> str:
        culprits = []
        for found in error.errors:
            names = [call.name.partition("@")[0] for call in found.location.call]
            known = filter(None, (layer_of(name, self._layers) for name in names))
            # An operation that stands in no layer still has TensorFlow's name.
            layer = next(known, names[0] if names else "unknown")
            culprits.append(f"layer {layer!r} needs {found.operator.name}")
        what = ", ".join(culprits) or str(error).splitlines()[0]
        return f"only built-in TFLite operations may be exported; {what}"


def quantize_to_int8(
    float32: TFLiteFile,
    ranges: Mapping[str, Range],
    input_type: str = "int8",
    keep_float: Collection[str] = (),
) -> TFLiteFile:
    """Quantise weights (one scale a channel) and activations (one scale a tensor) to int8.

    Jacob et al. 2018 (arXiv:1712.05877); scales as in TFLite's quantisation specification.

    Args:
        float32: the network in float32.
        ranges: name of each activation -> its range.
        input_type: int8 or uint8, of the graph's input and output.
        keep_float: names of the output tensors of operations that stay in float32; not that of
            the graph's own output.

    Raises:
        ValueError: `keep_float` or `ranges` names no tensor of the file.
    """
    annotated = _annotate(float32, ranges, keep_float)
    content = _quantize(annotated, whole=input_type == "int8", keep_float=keep_float)
    if input_type == "uint8":
        with hold_back_notices():
            content = bytes(modify_model_io_type(content, tf.uint8, tf.uint8))
    return TFLiteFile(content, float32.layers)


def quantize_beside_float(float32: TFLiteFile, ranges: Mapping[str, Range]) -> TFLiteFile:
    """Quantise to int8, and put beside each operation its float32 twin on the same input.

    One output of each pair bears the operation's name in the float graph, the other a new one.
    """
    content = _quantize(_annotate(float32, ranges), whole=True, twins=True)
    return TFLiteFile(content, float32.layers)


def _quantize(
    annotated: bytes, *, whole: bool, keep_float: Collection[str] = (), twins: bool = False
) -> bytes:
    edge = tf.int8 if whole else tf.float32
    with hold_back_notices():
        return mlir_quantize(
            annotated,
            fully_quantize=whole,
            inference_type=QUANTIZED_INT8,
            input_data_type=edge,
            output_data_type=edge,
            denylisted_nodes=set(keep_float),
            enable_numeric_verify=twins,
        )


def _annotate(float32: TFLiteFile, ranges: Mapping[str, Range], keep_float: Collection[str] = ()) -> bytes:
    """Write each activation's range where the quantiser looks for it."""
    model = schema.ModelT.InitFromPackedBuf(float32.content)
    names = {tensor.name.decode() for tensor in model.subgraphs[0].tensors}
    if unknown := {*ranges, *keep_float} - names:
        raise ValueError(f"no such tensors: {', '.join(sorted(unknown))}")
    for tensor in model.subgraphs[0].tensors:
        if observed := ranges.get(tensor.name.decode()):
            tensor.quantization = tensor.quantization or schema.QuantizationParametersT()
            tensor.quantization.min = np.array([observed.low], np.float32)
            tensor.quantization.max = np.array([observed.high], np.float32)
    return pack(model)
