"""What Arm's compiler makes of an int8 file: what the NPU takes over, how fast it is to be, and the file."""

import csv
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from export.errors import ExportFailed
from export.vela import find_vela
from pipeline.tflite.file import TFLiteFile

COMPILED = "ethos-u"
"""The one operation in which all that the NPU takes over is put."""


@dataclass(frozen=True)
class NpuResult:
    """What a file is on an NPU, by Vela's model of it: no hardware was asked.

    Attributes:
        npu: its name, as Vela has it.
        vela: version of the compiler.
        system: clock and memories that were assumed, Vela's `--system-config`; its default.
        memory_mode: where weights and activations lie, Vela's `--memory-mode`; its default.
        clock_hz: of the NPU.
        cpu_operations: operations that are left to the processor -> how many.
        milliseconds: of one image.
        sram_bytes: that activations take.
        file: the compiled network, for TensorFlow Lite Micro with Arm's driver.
    """

    npu: str
    vela: str
    system: str
    memory_mode: str
    clock_hz: float
    cpu_operations: Mapping[str, int]
    milliseconds: float
    sram_bytes: int
    file: TFLiteFile


def compile_for_npu(file: TFLiteFile, npu: str) -> NpuResult:
    """Compile an int8 file with Vela.

    Args:
        file: a network that computes in integers.
        npu: one of `export.vela.NPUS`.

    Raises:
        UserError: Vela is not installed.
        ExportFailed: it refuses the file.
    """
    vela = find_vela()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "network.tflite")
        path.write_bytes(file.content)
        _run(vela, str(path), "--accelerator-config", npu, "--output-dir", scratch)
        compiled = TFLiteFile(path.with_name("network_vela.tflite").read_bytes())
        (table,) = Path(scratch).glob("network_summary_*.csv")
        with table.open(newline="") as lines:
            (row,) = csv.DictReader(lines)
    operations = Counter(op.name for op in compiled.graph.operations if op.name != COMPILED)
    return NpuResult(
        npu=npu,
        vela=_run(vela, "--version").strip(),
        system=row["system_config"],
        memory_mode=row["memory_mode"],
        clock_hz=float(row["core_clock"]),
        cpu_operations=dict(operations),
        milliseconds=1000 * float(row["inference_time"]),
        # In KiB there.
        sram_bytes=round(1024 * float(row["sram_memory_used"])),
        file=compiled,
    )


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise ExportFailed(f"Vela must compile the int8 file; it says: {said[-1]}")
    return done.stdout
