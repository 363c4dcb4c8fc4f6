"""What a device must do with an image before the network, and with the scores after it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from export.onnx.file import OnnxFile
from pipeline.config.reading import Reading
from pipeline.tflite.file import TFLiteFile
from pipeline.tflite.graph import Tensor

STEPS = (
    "Decode the image to 8-bit RGB: grey repeats in all three channels, of 16 bits the high "
    "byte is kept, transparent pixels are composited over white. Where exif_orientation is true, turn "
    "it upright as the EXIF orientation of its file says; else leave it as it is stored.",
    "Make it height x width, as resize says. squash: resize the whole image, whatever its shape. crop: cut "
    "out the square in its middle, of int(crop_share * shorter side + 0.5) pixels, and resize that. pad: "
    "resize the longer side to size, the other to (2 * size * shorter + longer) // (2 * longer), "
    "and put it in the middle of a square of the level border. What is left over is rounded down, above and "
    "on the left. Resizing is bilinear, antialiased when shrinking (the triangle kernel is widened by the "
    "scale): golden/large.png shows it, and golden/large.bin what must come out.",
    "Write each pixel in [0, 255] to the input, row by row (NHWC, channels R, G, B): as it is "
    "where dtype is float32; else value = round(pixel / scale) + zero_point, within the limits of "
    "dtype (scale 1 and zero_point -128: pixel - 128). No mean, no deviation: the network has "
    "them inside.",
    "Run the network.",
    "Of an integer output, score = (value - zero_point) * scale. The greatest score tells the "
    "class, as a line of labels.txt. Where scores are logits, softmax turns them into "
    "probabilities.",
)
"""In words, in order; for each file the numbers beside them."""


def describe_preprocessing(
    files: Mapping[str, TFLiteFile | OnnxFile], output: str, reading: Reading
) -> dict[str, Any]:
    """Build the content of the bundle's `preprocessing.json`.

    Args:
        files: name of each file of the bundle -> the file, with images of shape [height, width, 3] as
            input, one at a time or, of an .onnx file, any number.
        output: `logits` or `probabilities`, which the scores are.
        reading: how training read images.

    Returns:
        `steps`, in words; `image`, the reading; and `models`: file name -> `crc32` of the file, `input`
        (height, width, channels, layout, dtype, scale, zero_point) and `output` (scores, dtype, scale,
        zero_point).
        Scale and zero point are those of TFLite's quantisation specification, real = (value - zero_point) *
        scale; both are None where dtype is a float.
    """
    return {
        "steps": list(STEPS),
        "image": dataclasses.asdict(reading),
        "models": {
            name: {
                "crc32": file.crc32,
                "input": _image(file.input),
                "output": {"scores": output, **_numbers(file.output)},
            }
            for name, file in files.items()
        },
    }


def _image(tensor: Tensor) -> dict[str, Any]:
    _, height, width, _ = tensor.shape
    size = {"height": height, "width": width}
    return {**size, "channels": "RGB", "layout": "NHWC", **_numbers(tensor)}


def _numbers(tensor: Tensor) -> dict[str, Any]:
    scale, zero_point = None, None
    if len(tensor.scales):
        scale, zero_point = float(tensor.scales[0]), int(tensor.zero_points[0])
    return {"dtype": tensor.dtype, "scale": scale, "zero_point": zero_point}
