"""The folder `micro/` of a bundle: what a microcontroller compiles, and a program that proves it there."""

import re
import shutil
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from export.bundle.c_source import camel_of, write_c_source
from export.bundle.golden import answer
from export.bundle.golden_resize import draw_large, fit_as_device
from export.errors import ExportFailed
from export.verify.micro import MicroResult
from pipeline.config.reading import Reading
from pipeline.files.whole import write_text
from pipeline.tflite.file import TFLiteFile
from pipeline.tflite.graph import Graph

PROVEN_WITH = "90b983c2b3f1480642e040bbd2ddb37b998f3424"
"""Commit of TensorFlow Lite Micro in which the folder of a bundle was built, run and passed."""

TEMPLATES = Path(__file__).parents[1] / "device" / "micro"

COPIED = ("preprocess.h", "preprocess.c", "idf_component.yml")
FILLED = {
    "main.cc.in": "main.cc",
    "CMakeLists.txt.in": "CMakeLists.txt",
    "library.properties.in": "library.properties",
    "golden.ino.in": "examples/golden/golden.ino",
}
"""Template -> file of the folder."""

HEIGHT, WIDTH = 45, 60
"""Of the golden image, which lies in the program: its 13 KiB must fit beside the network."""

LARGEST_DENOMINATOR = 10_000
"""Of the share that is cut out: more would not fit the 32 bits in which preprocess.c computes."""

NOT_MEASURED_ARENA = "constexpr int k{camel}ArenaBytes = 1024 * 1024;  // not measured: lower it"

VALUES_PER_LINE = 20


def write_micro_folder(
    file: TFLiteFile,
    micro: MicroResult | str,
    images: np.ndarray,
    class_names: Sequence[str],
    folder: Path,
    name: str,
    reading: Reading,
) -> None:
    """Write the network, preprocessing, labels, golden vectors and the program that compares them.

    Args:
        file: a network with int8 or uint8 input and output.
        micro: how large an arena it needs, or why that is not known.
        images: uint8 [images, height, width, 3]; a few, for golden vectors.
        class_names: label -> name.
        folder: where to.
        name: of the network; lower-case words joined by `_`.
        reading: how an image becomes the input.

    Raises:
        ExportFailed: TensorFlow Lite Micro has no such operation, or the input has another scale than 1.
    """
    pixels = file.graph.input
    if pixels.scales.tolist() != [1.0]:
        raise ExportFailed(f"preprocess.c needs an input of scale 1; received {pixels.scales.tolist()}")
    arena_bytes = micro.arena_bytes if isinstance(micro, MicroResult) else None
    camel = camel_of(name)
    filling = {
        "name": name,
        "camel": camel,
        "type": f"{pixels.dtype}_t",
        "commit": PROVEN_WITH,
        "operations": "|".join(sorted({operation.name for operation in file.graph.operations})),
        "arena": "" if arena_bytes else NOT_MEASURED_ARENA.format(camel=camel),
    }
    filled = {target: _fill((TEMPLATES / source).read_text(), filling) for source, target in FILLED.items()}
    headers = {
        f"{name}_labels": _labels(camel, class_names),
        f"{name}_image": _image(camel, file.graph, reading),
        f"{name}_golden": _golden(camel, file, images, reading),
    }
    (folder / "examples" / "golden").mkdir(parents=True)
    write_c_source(file, arena_bytes, folder, name, reading)
    for header, text in headers.items():
        guard = f"{header.upper()}_H_"
        write_text(folder / f"{header}.h", f"#ifndef {guard}\n#define {guard}\n\n{text}\n#endif\n")
    for target, text in filled.items():
        write_text(folder / target, text)
    for copied in COPIED:
        shutil.copyfile(TEMPLATES / copied, folder / copied)


def _fill(template: str, values: dict[str, str]) -> str:
    return re.sub(r"@(\w+)@", lambda match: values[match[1]], template)


def _labels(camel: str, class_names: Sequence[str]) -> str:
    names = "".join(f"    {_literal(' '.join(name.split()))},\n" for name in class_names)
    return (
        "/* Names of the classes, UTF-8, in the order of the scores. */\n"
        f"enum {{ k{camel}Classes = {len(class_names)} }};\n"
        f"static const char *const k{camel}Labels[k{camel}Classes] = {{\n{names}}};\n"
    )


def _literal(text: str) -> str:
    """Write a string of C: octal escapes have an end, and `?` might begin a trigraph."""
    plain = set(range(0x20, 0x7F)) - set(b'"\\?')
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in text.encode()) + '"'


def _image(camel: str, graph: Graph, reading: Reading) -> str:
    side = graph.input.shape[1]
    (zero_point,) = graph.input.zero_points
    share = Fraction(str(reading.crop_share)).limit_denominator(LARGEST_DENOMINATOR)
    share = max(share, Fraction(1, LARGEST_DENOMINATOR))
    return (
        "/* How an image becomes the input of the network: for preprocess(). */\n"
        '#include "preprocess.h"\n\n'
        f"enum {{ k{camel}InputBytes = {side * side * 3} }};\n"
        "/* Side, how it is resized, share that CROP cuts out, border of PAD, zero point. */\n"
        f"static const PreprocessInput k{camel}Image = {{\n"
        f"    {side}, PREPROCESS_{reading.resize.upper()}, {share.numerator}, {share.denominator}, "
        f"{reading.border}, {zero_point}\n}};\n"
    )


def _golden(camel: str, file: TFLiteFile, images: np.ndarray, reading: Reading) -> str:
    inputs, outputs = zip(*answer(file, images), strict=True)
    packed, seen = _draw_rgb565()
    side = file.graph.input.shape[1]
    (zero_point,) = file.graph.input.zero_points
    fitted = fit_as_device(Image.fromarray(seen), side, reading).astype(int) + zero_point
    kind = f"{file.graph.input.dtype}_t"
    constant = f"k{camel}Golden"
    size = f"{constant}Width * {constant}Height"
    return (
        "/* What goes in and what must come out; constant, for a program that proves the network. */\n"
        "#include <stdint.h>\n\n"
        f"enum {{ {constant}Width = {WIDTH}, {constant}Height = {HEIGHT} }};\n"
        f"enum {{ {constant}Vectors = {len(images)} }};\n\n"
        "/* One image twice, and the values that preprocessing makes of either, up to one level. */\n"
        + _array("uint8_t", f"{constant}Rgb888[3 * {size}]", seen)
        + _array("uint8_t", f"{constant}Rgb565[2 * {size}]", packed)
        + _array(kind, f"{constant}Levels[{fitted.size}]", fitted)
        + "\n/* Inputs of the network, and the scores of the reference kernels. */\n"
        + _arrays(kind, f"{constant}Input", inputs)
        + _arrays(kind, f"{constant}Output", outputs)
    )


def _draw_rgb565() -> tuple[np.ndarray, np.ndarray]:
    """Draw an image that RGB565 holds exactly.

    Returns:
        It as bytes, the high byte first, uint8 [height, width, 2]; and as RGB888, uint8 [height, width, 3],
        where the highest bits of each channel are repeated below the others.
    """
    red, green, blue = np.moveaxis(draw_large()[:HEIGHT, :WIDTH].astype(np.uint16) >> [3, 2, 3], -1, 0)
    bits = (red << 11 | green << 5 | blue).astype(">u2")
    levels = np.dstack([red << 3 | red >> 2, green << 2 | green >> 4, blue << 3 | blue >> 2])
    return bits.view(np.uint8).reshape(HEIGHT, WIDTH, 2), levels.astype(np.uint8)


def _array(kind: str, declared: str, values: np.ndarray) -> str:
    return f"static const {kind} {declared} = {{\n{_rows(values)}}};\n"


def _arrays(kind: str, name: str, values: Sequence[np.ndarray]) -> str:
    rows = "".join(f"    {{\n{_rows(row)}    }},\n" for row in values)
    return f"static const {kind} {name}[{len(values)}][{values[0].size}] = {{\n{rows}}};\n"


def _rows(values: np.ndarray) -> str:
    flat = values.reshape(-1).tolist()
    starts = range(0, len(flat), VALUES_PER_LINE)
    return "".join(
        "        " + " ".join(f"{value}," for value in flat[start : start + VALUES_PER_LINE]) + "\n"
        for start in starts
    )
