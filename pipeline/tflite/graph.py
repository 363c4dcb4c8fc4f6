"""What is inside a .tflite file: operations, tensors and the Keras layers they came from."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

_OPERATORS = {code: name for name, code in vars(schema.BuiltinOperator).items() if name.isupper()}
_TYPES = {code: name.lower() for name, code in vars(schema.TensorType).items() if name.isupper()}
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
_KERNEL = re.compile(r"/(convolution|depthwise|MatMul)\d*$")
_WEIGHTED = (*_CONVOLUTIONS, "FULLY_CONNECTED")


@dataclass(frozen=True)
class Tensor:
    """One tensor of the graph.

    Attributes:
        index: its place, by which an interpreter knows it.
        name: what the converter called it; the TensorFlow operations it stands for. Empty where that
            was left out of the file.
        shape: its sizes.
        dtype: float32, float16, int8, int16, int32 ...
        scales: of a quantised tensor, one or one a channel; else empty.
        zero_points: as many as scales.
        constant: whether the file holds its values.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: np.ndarray
    zero_points: np.ndarray
    constant: bool


@dataclass(frozen=True)
class Operation:
    """One operation of the graph.

    Attributes:
        name: TFLite's name, such as CONV_2D; of a custom one the name it was registered by.
        custom: whether it is no built-in operation of TFLite.
        layer: the Keras layer it came from; where several were fused, the one with the kernel.
        inputs: tensors it reads, constants too.
        output: the tensor it writes, its first.
        multiply_adds: for one image, counted as in `pipeline.models.cost`.
        options: of the built-in operation, by their names in TFLite's schema: strides, padding ...
    """

    name: str
    custom: bool
    layer: str
    inputs: tuple[Tensor, ...]
    output: Tensor
    multiply_adds: int
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """A network of one input and one output, in the order in which it is computed."""

    operations: tuple[Operation, ...]
    input: Tensor
    output: Tensor


def read_graph(content: bytes, layers: Collection[str] = (), tensor_names: Sequence[str] = ()) -> Graph:
    """Read a .tflite file.

    Args:
        content: the file.
        layers: names of the Keras model's layers.
        tensor_names: of the tensors by index; empty where the file's own are to be read.
    """
    model = schema.ModelT.InitFromPackedBuf(content)
    subgraph = model.subgraphs[0]
    names = tensor_names or [(tensor.name or b"").decode() for tensor in subgraph.tensors]
    tensors = [_tensor(model, index, name) for index, name in enumerate(names)]
    operations: list[Operation] = []
    written_by: dict[int, str] = {}
    for operator in subgraph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        custom = code.customCode is not None
        # Old files hold the code in a field of one byte, new ones in both or in the wide one.
        builtin = _OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]
        name = code.customCode.decode() if custom else builtin
        inputs = tuple(tensors[index] for index in operator.inputs if index >= 0)
        output = tensors[operator.outputs[0]]
        layer = _layer(inputs, output, layers)
        if layer is None:
            # A conversion that was put between layers belongs to the one before it.
            layer = next((written_by[i.index] for i in inputs if i.index in written_by), name)
        written_by[output.index] = layer
        cost = _multiply_adds(name, inputs, output)
        options = vars(operator.builtinOptions) if operator.builtinOptions else {}
        operations.append(Operation(name, custom, layer, inputs, output, cost, options))
    return Graph(tuple(operations), tensors[subgraph.inputs[0]], tensors[subgraph.outputs[0]])


def _tensor(model: schema.ModelT, index: int, name: str) -> Tensor:
    tensor = model.subgraphs[0].tensors[index]
    quantization = tensor.quantization
    quantised = quantization is not None and quantization.scale is not None
    buffer = model.buffers[tensor.buffer]
    return Tensor(
        index=index,
        name=name,
        shape=tuple(int(size) for size in tensor.shape if size is not None),
        dtype=_TYPES[tensor.type],
        scales=np.array(quantization.scale if quantised else []),
        zero_points=np.array(quantization.zeroPoint if quantised else [], int),
        constant=buffer.data is not None and len(buffer.data) > 0,
    )


def layer_of(name: str, layers: Collection[str]) -> str | None:
    """Find the Keras layer in a TensorFlow name such as `net_1/stem_conv_1/convolution;...`.

    Tracing appends a number to the names of layers. Of several names it is the one with the
    kernel, else the last, whose result the others transform.
    """
    operations = name.split(";")[::-1]
    operations.sort(key=lambda operation: not _KERNEL.search(operation))
    for operation in operations:
        for part in operation.split("/"):
            for candidate in (re.sub(r"_\d+$", "", part), part):
                if candidate in layers:
                    return candidate
    return None


def _layer(inputs: tuple[Tensor, ...], output: Tensor, layers: Collection[str]) -> str | None:
    # The graph's own output carries the signature's name instead of a layer's.
    for source in (output.name, *(tensor.name for tensor in inputs if tensor.constant)):
        if layer := layer_of(source, layers):
            return layer
    return None


def _multiply_adds(name: str, inputs: tuple[Tensor, ...], output: Tensor) -> int:
    """Every weight of the kernel works once at every output position."""
    if name not in _WEIGHTED:
        return 0
    positions = math.prod(output.shape[1:-1]) if name in _CONVOLUTIONS else 1
    return positions * math.prod(inputs[1].shape)
