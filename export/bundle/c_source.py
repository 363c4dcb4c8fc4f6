"""Write a quantised .tflite file as C++ source for TensorFlow Lite Micro."""

from pathlib import Path

import numpy as np

from export.errors import ExportFailed
from export.verify.micro import ARENA_ALIGNMENT, HEADROOM
from export.verify.npu import COMPILED
from pipeline.config.reading import READING, Reading
from pipeline.files.whole import write_text
from pipeline.tflite.file import TFLiteFile
from pipeline.tflite.graph import Graph, Tensor

BYTES_PER_LINE = 16

# Of tflite::MicroMutableOpResolver (tensorflow/lite/micro/micro_mutable_op_resolver.h), each
# without its `Add`. In lower case they are TFLite's names of the operations without `_`.
_METHODS = """
    Abs Add AddN ArgMax ArgMin AssignVariable AveragePool2D BatchMatMul BatchToSpaceNd
    BroadcastArgs BroadcastTo CallOnce Cast Ceil Concatenation Conv2D Cos CumSum DepthToSpace
    DepthwiseConv2D Dequantize Div DynamicUpdateSlice Elu EmbeddingLookup Equal Exp ExpandDims
    Fill Floor FloorDiv FloorMod FullyConnected Gather GatherNd Greater GreaterEqual HardSwish If
    L2Normalization L2Pool2D LeakyRelu Less LessEqual Log LogSoftmax LogicalAnd LogicalNot
    LogicalOr Logistic MaxPool2D Maximum Mean Minimum MirrorPad Mul Neg NotEqual Pack Pad PadV2
    Prelu Quantize ReadVariable ReduceAll ReduceMax ReduceMin Relu Relu6 Reshape ResizeBilinear
    ResizeNearestNeighbor ReverseV2 Round Rsqrt SelectV2 Shape Sin Slice Softmax SpaceToBatchNd
    SpaceToDepth Split SplitV Sqrt Square SquaredDifference Squeeze StridedSlice Sub Sum Svdf Tanh
    Transpose TransposeConv UnidirectionalSequenceLSTM Unpack VarHandle While ZerosLike
"""
_METHOD_OF = {method.lower(): method for method in _METHODS.split()}

# Custom operations, by the name in the file.
_CUSTOM_METHOD_OF = {COMPILED: "EthosU"}

_HEADER = """\
// A network for TensorFlow Lite Micro: its size, what goes in and out, and the operations it needs.
//
//   alignas({alignment}) static uint8_t arena[{constant}ArenaBytes];
//   static tflite::MicroMutableOpResolver<{constant}Operations> resolver;
//   Register{camel}Operations(resolver);
//   static tflite::MicroInterpreter interpreter(
//       tflite::GetModel({name}), resolver, arena, {constant}ArenaBytes);
//   interpreter.AllocateTensors();

#pragma once

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

// The .tflite file.
constexpr int {constant}Bytes = {size};
extern const unsigned char {name}[{constant}Bytes];

{arena}

// Pixels in [0, 255], RGB: pixel = (level - zero point) * scale. Training saw
// {fitted}, bilinear and antialiased,
// as preprocess() of preprocess.h, run.py and preprocessing.json have it.
{input}

// Scores: score = (level - zero point) * scale.
{output}

constexpr int {constant}Operations = {count};

inline TfLiteStatus Register{camel}Operations(
    tflite::MicroMutableOpResolver<{constant}Operations>& resolver) {{
{registrations}
  return kTfLiteOk;
}}
"""

_FITTED = {
    "squash": "each image resized as a whole",
    "crop": "the square in the middle, {reading.crop_share:g} of the shorter side",
    "pad": "each image as a whole in a border of level {reading.border}",
}
"""What is made of an image of another shape, by `Reading.resize`."""

_MEASURED = """\
// The least that was enough with the reference kernels on a 64-bit machine, {headroom:.1%} more for
// the buffers of kernels that are made for one processor, rounded up to a multiple of {alignment}.
// Structures are smaller where pointers have 32 bits: `interpreter.arena_used_bytes()` tells how much
// can be taken off; keep to multiples of {alignment}, a Cortex-M refuses others.
constexpr int {constant}ArenaBytes = {arena};"""

_NOT_MEASURED = """\
// How large an arena the network needs was not measured: define {constant}ArenaBytes generously,
// and take off what `interpreter.arena_used_bytes()` shows to be free."""


def write_c_source(
    file: TFLiteFile, arena_bytes: int | None, folder: Path, name: str, reading: Reading = READING
) -> None:
    """Write `<name>.h` and `<name>.cc`: the file as an array and what is needed to run it.

    Args:
        file: a network with quantised input and output.
        arena_bytes: to reserve (`MicroResult.arena_bytes`); None where it was not measured.
        folder: where to.
        name: of the files and of the array; lower-case words joined by `_`.
        reading: how an image becomes the input.

    Raises:
        ExportFailed: TensorFlow Lite Micro has no such operation. A comment in the source instead
            would be found only once the device refuses the network.
    """
    camel = camel_of(name)
    constant = f"k{camel}"
    methods = _methods(file.graph)
    header = _HEADER.format(
        alignment=ARENA_ALIGNMENT,
        camel=camel,
        constant=constant,
        name=name,
        size=file.size,
        arena=_NOT_MEASURED.format(constant=constant)
        if arena_bytes is None
        else _MEASURED.format(
            constant=constant, arena=arena_bytes, headroom=HEADROOM, alignment=ARENA_ALIGNMENT
        ),
        fitted=_FITTED[reading.resize].format(reading=reading),
        input=_tensor(f"{constant}Input", file.graph.input),
        output=_tensor(f"{constant}Output", file.graph.output),
        count=len(methods),
        registrations="\n".join(f"  TF_LITE_ENSURE_STATUS(resolver.{method}());" for method in methods),
    )
    write_text(folder / f"{name}.h", header)
    write_text(folder / f"{name}.cc", _array(name, f"{constant}Bytes", file.content))


def camel_of(name: str) -> str:
    """Write lower-case words joined by `_` as C++ names types; before a digit the `_` stays.

    So `net_1` does not become what `net1` does.
    """
    return "".join(word.capitalize() if word[0].isalpha() else f"_{word}" for word in name.split("_"))


def _methods(graph: Graph) -> list[str]:
    """Methods that register each operation of the graph once, in the order of first use."""
    methods = []
    for operation in graph.operations:
        known = _CUSTOM_METHOD_OF if operation.custom else _METHOD_OF
        method = known.get(operation.name if operation.custom else operation.name.replace("_", "").lower())
        if method is None:
            raise ExportFailed(
                "TensorFlow Lite Micro must have every operation of the network; layer "
                f"{operation.layer!r} needs {operation.name}"
            )
        methods.append(f"Add{method}")
    return list(dict.fromkeys(methods))


def _tensor(constant: str, tensor: Tensor) -> str:
    shape = ", ".join(map(str, tensor.shape))
    (scale,), (zero_point,) = tensor.scales, tensor.zero_points
    # The shortest decimal that is this float32 and no other.
    return (
        f"constexpr int {constant}Shape[] = {{{shape}}};  // {tensor.dtype}\n"
        f"constexpr float {constant}Scale = {np.float32(scale)!s}f;\n"
        f"constexpr int {constant}ZeroPoint = {zero_point};"
    )


def _array(name: str, size: str, content: bytes) -> str:
    lines = [f'#include "{name}.h"\n', f"alignas({ARENA_ALIGNMENT}) const unsigned char {name}[{size}] = {{"]
    for start in range(0, len(content), BYTES_PER_LINE):
        row = content[start : start + BYTES_PER_LINE]
        lines.append("    " + " ".join(f"0x{byte:02x}," for byte in row))
    return "\n".join([*lines, "};", ""])
