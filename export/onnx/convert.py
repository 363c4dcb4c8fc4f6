"""The one place that calls tf2onnx, which makes an .onnx file of a network."""

import tempfile
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from export.convert.network import write_graph
from export.errors import ExportFailed
from export.onnx.file import PIXELS, SCORES, OnnxFile
from pipeline.console.quiet_start import hold_back_notices

OPSET = 17
"""Version of ONNX's operators: of 2022, so that ONNX Runtime from 1.12 on and other runtimes have it."""


def convert(network: keras.Model) -> OnnxFile:
    """Convert to float32, for batches of any size, as servers send them.

    Args:
        network: pixels to scores.

    Raises:
        ExportFailed: ONNX has no operator for a layer.
    """
    import onnx
    import tf2onnx

    with tempfile.TemporaryDirectory() as scratch:
        write_graph(network, Path(scratch), batch=None)
        # Of a traced function the numbers in its norms would become inputs; of one that is loaded, constants.
        loaded = tf.saved_model.load(scratch)
        frozen = convert_variables_to_constants_v2(loaded.signatures["serve"])
    (pixels,), (scores,) = frozen.inputs, frozen.outputs
    with hold_back_notices():
        model, _ = tf2onnx.convert.from_graph_def(
            frozen.graph.as_graph_def(),
            name=network.name,
            input_names=[pixels.name],
            output_names=[scores.name],
            tensors_to_rename={pixels.name: PIXELS, scores.name: SCORES},
            opset=OPSET,
        )
    _tidy(model)
    try:
        # tf2onnx leaves what it cannot convert as it is.
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ExportFailed(f"only operators of ONNX may be exported; {str(error).splitlines()[0]}") from error
    return OnnxFile(model.SerializeToString(deterministic=True))


def _tidy(model: Any) -> None:
    """Name the size that is left open, of which tf2onnx makes a number, and leave out its note."""
    model.graph.doc_string = ""
    for end in (*model.graph.input, *model.graph.output):
        end.type.tensor_type.shape.dim[0].dim_param = "batch"
