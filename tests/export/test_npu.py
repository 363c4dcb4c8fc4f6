"""Arm's compiler on an int8 file: what it takes over, estimates and leaves, the header, limits, refusals."""

import re
import sys

import numpy as np
import pytest

from export.bundle.c_source import write_c_source
from export.convert.converter import quantize_to_int8
from export.errors import ExportFailed
from export.limits import check_npu_limit
from export.quantize.ranges import Calibrator
from export.request import parse_export_request
from export.vela import find_vela
from export.verify.npu import NpuResult, compile_for_npu
from pipeline.errors import UserError
from pipeline.tflite.file import TFLiteFile
from tests.prediction_samples import digits

NPU = "ethos-u55-128"


def has_vela() -> bool:
    try:
        find_vela()
    except UserError:
        return False
    return True


needs_vela = pytest.mark.skipif(not has_vela(), reason="ethos-u-vela is not installed")


@pytest.fixture(scope="module")
def int8(digits_float32):
    return quantize_to_int8(digits_float32, Calibrator(digits_float32, digits()[0][:20]).full)


@needs_vela
def test_the_npu_takes_over_the_whole_int8_file(int8, tmp_path):
    found = compile_for_npu(int8, NPU)
    assert (found.npu, found.cpu_operations) == (NPU, {})
    # It does 128 multiply-adds a cycle at most.
    work = sum(operation.multiply_adds for operation in int8.graph.operations)
    assert found.milliseconds > 1000 * work / 128 / found.clock_hz
    # The largest activation and what is computed from it are there at once.
    largest = max(np.prod(operation.output.shape) for operation in int8.graph.operations)
    assert found.sram_bytes >= largest
    write_c_source(found.file, None, tmp_path, "door_int8_npu")
    header = (tmp_path / "door_int8_npu.h").read_text()
    assert re.findall(r"resolver\.(\w+)\(\)", header) == ["AddEthosU"]
    assert "kDoorInt8NpuInputShape[] = {1, 8, 8, 3};  // int8" in header


@needs_vela
def test_what_is_left_to_the_processor_is_counted(digits_float32):
    found = compile_for_npu(digits_float32, NPU)
    expected = [operation.name for operation in digits_float32.graph.operations]
    assert found.cpu_operations == {name: expected.count(name) for name in expected}


@needs_vela
def test_a_file_that_the_compiler_refuses_takes_one_line():
    with pytest.raises(ExportFailed, match=r"^Vela must compile the int8 file; it says: "):
        compile_for_npu(TFLiteFile(b"no network"), NPU)


def test_a_longer_time_than_allowed_is_refused(int8):
    found = NpuResult(NPU, "5.2.0", "system", "mode", 5e8, {}, 0.25, 1024, int8)
    check_npu_limit(found, 0.25)
    check_npu_limit(found, None)
    with pytest.raises(UserError, match=r"^--max-npu-ms must be at least the 0\.25 ms .* received 0\.249 "):
        check_npu_limit(found, 0.249)


def test_a_limit_is_not_met_by_what_the_processor_computes(int8):
    """Of a network that is left to it whole, Vela estimates no time at all."""
    found = NpuResult(NPU, "5.2.0", "system", "mode", 5e8, {"CONV_2D": 9, "ADD": 3}, 0.0, 0, int8)
    check_npu_limit(found, None)
    with pytest.raises(UserError, match=r"^--max-npu-ms needs .* leaves to the processor 9 CONV_2D, 3 ADD$"):
        check_npu_limit(found, 0.25)


def test_without_the_compiler_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(UserError, match=r"^--npu needs .* \(pip install ethos-u-vela\)$"):
        parse_export_request(["runs/one", "--npu", NPU])
    (tmp_path / "vela").touch(0o755)
    assert parse_export_request(["runs/one", "--npu", NPU]).npu == NPU


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--npu", "ethos-u55"], "unknown --npu 'ethos-u55'; did you mean"),
        (["--npu", NPU, "--formats", "float32"], "--npu is about the int8 file; received --formats float32"),
        (["--max-npu-ms", "1"], "--max-npu-ms needs --npu; received 1 without"),
    ],
)
def test_what_contradicts_itself_is_refused(arguments, message):
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        parse_export_request(["runs/one", *arguments])
