"""How fast one image is classified: Keras, TFLite and their peers side by side, on the CPU.

    python -m benchmarks.inference

ResNet-18 of each width, batches of one image; TFLite's int8 file against its float32 one.
"""

import argparse
import os
import re
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.inference_contenders import (
    keras_call,
    keras_predict,
    onnx,
    tflite,
    torch_eager,
    write_onnx_files,
    write_our_files,
)
from benchmarks.measure import (
    CORES,
    Comparison,
    Measure,
    count,
    has_torch,
    measure_in_turns,
    own_process,
    ratios,
    report,
    seconds,
)
from pipeline.errors import UserError

BAR_INT8 = 3.0
VNNI = ("avx_vnni", "avx512_vnni")
"""Instructions that multiply and add int8 in one step, as Linux calls them."""

Contenders = dict[str, tuple[Callable[..., Measure], tuple[Any, ...]]]


def vnni_of(cpu_info: str) -> list[str]:
    """Name the VNNI instructions that a processor has, from the text of /proc/cpuinfo."""
    flags = re.search(r"^flags\s*:(.*)$", cpu_info, re.MULTILINE)
    return [name for name in VNNI if flags and name in flags[1].split()]


def has_onnx() -> bool:
    """Whether ONNX Runtime can be measured; says so where it cannot."""
    if all(find_spec(package) for package in ("torch", "onnx", "onnxruntime")):
        return True
    print("torch, onnx or onnxruntime is not installed: ONNX Runtime is left out")
    return False


def prepare(folder: Path, width: int, arguments: argparse.Namespace) -> Contenders:
    """Write the files of one width into `folder`, and list who runs them.

    Raises:
        UserError: the images are too small for the network.
    """
    size, span = arguments.image_size, arguments.seconds
    with own_process() as process:
        stem = process.submit(write_our_files, folder, width, size).result()
    keras = (folder / "network.keras", size, span)
    contenders: Contenders = {"Keras predict": (keras_predict, keras)}
    contenders["Keras call"] = keras_call, keras
    thread_counts = {threads: _threads(threads) for threads in sorted({1, CORES})}
    for threads, name in thread_counts.items():
        for kind in ("float32", "int8"):
            file = folder / f"{kind}.tflite"
            contenders[f"TFLite {kind}, {name}"] = tflite, (file, size, span, threads)
    if has_torch():
        for threads, name in thread_counts.items():
            torch = (width, stem, size, span, threads)
            contenders[f"PyTorch eager, {name}"] = torch_eager, torch
    if has_onnx():
        with own_process() as process:
            process.submit(write_onnx_files, folder, width, size, stem).result()
        for threads, name in thread_counts.items():
            for kind in ("float32", "int8"):
                file = folder / f"{kind}.onnx"
                contenders[f"ONNX Runtime {kind}, {name}"] = onnx, (file, size, span, threads)
    return contenders


def _threads(number: int) -> str:
    return f"{number} thread{'s' if number > 1 else ''}"


def measure_width(width: int, arguments: argparse.Namespace) -> tuple[dict[str, list[float]], Comparison]:
    """Measure all contenders of one width, and TFLite's int8 file against its float32 one."""
    print(f"width {width}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        rates = measure_in_turns(prepare(Path(folder), width, arguments), arguments.rounds)
    faster = ratios(rates["TFLite int8, 1 thread"], rates["TFLite float32, 1 thread"])
    name = f"width {width}, TFLite int8 / float32, 1 thread"
    return (
        {f"width {width}, {contender}": values for contender, values in rates.items()},
        Comparison(name, faster, BAR_INT8),
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=count, default=8, help="how often each is measured (8)")
    parser.add_argument(
        "--seconds", type=seconds, default=0.5, help="length of one measurement in seconds (0.5)"
    )
    parser.add_argument(
        "--width", type=count, nargs="+", default=[16, 64], help="channels of the first stage (16 64)"
    )
    parser.add_argument("--image-size", type=count, default=32, help="height and width in pixels (32)")
    arguments = parser.parse_args()
    load_before = os.getloadavg()[0]

    rates: dict[str, list[float]] = {}
    comparisons = []
    for width in arguments.width:
        try:
            measured, comparison = measure_width(width, arguments)
        except UserError as error:
            parser.error(str(error))
        rates.update(measured)
        comparisons.append(comparison)
    cpu_info = Path("/proc/cpuinfo")
    vnni = vnni_of(cpu_info.read_text()) if cpu_info.exists() else []
    settings = {"batch_size": 1, "vnni": vnni, **vars(arguments)}
    report("inference", settings, rates, comparisons, load_before)


if __name__ == "__main__":
    main()
