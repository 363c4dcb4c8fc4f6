"""Native notices: held back, shown when something fails, all shown to whoever asks for them."""

import os
import subprocess
import sys

import pytest

from pipeline.console.quiet_start import hold_back_notices
from tests.commands import ROOT

NOTICE = b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"


def write_notice(error: BaseException | None = None) -> None:
    """As native code does: to the descriptor, behind Python's back."""
    os.write(2, NOTICE)
    if error:
        raise error


@pytest.fixture(autouse=True)
def _no_log_level(monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)


def test_notices_are_held_back_and_what_follows_is_not(capfd):
    with hold_back_notices():
        write_notice()
        subprocess.run([sys.executable, "-c", "import os; os.write(2, b'of a child')"], check=True)
        print("the command's own output", flush=True)
    os.write(2, b"what follows")
    assert capfd.readouterr() == ("the command's own output\n", "what follows")


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt(), SystemExit(1)])
def test_notices_are_shown_when_an_exception_passes(capfd, error):
    with pytest.raises(type(error)) as raised, hold_back_notices():
        write_notice(error)
    assert raised.value is error
    os.write(2, b"what follows")
    assert capfd.readouterr().err == NOTICE.decode() + "what follows"


def test_an_exception_passes_where_nobody_can_read_the_notices():
    code = (
        "import os; from pipeline.console.quiet_start import hold_back_notices\n"
        "try:\n"
        "    with hold_back_notices():\n"
        "        os.write(2, b'notice'); raise KeyError('a bug')\n"
        "except KeyError:\n"
        "    print('passed')\n"
    )
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=full, text=True
        )
    assert done.stdout == "passed\n"


@pytest.mark.parametrize("level", ["0", "1", "", "x"])
def test_all_is_shown_at_once_where_a_log_level_is_set(capfd, monkeypatch, level):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    with hold_back_notices():
        write_notice()
        assert capfd.readouterr().err == NOTICE.decode()


@pytest.mark.parametrize("level", ["2", "3", "10"])
def test_nothing_is_shown_where_a_log_level_asks_for_silence(capfd, monkeypatch, level):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    with hold_back_notices():
        write_notice()
    assert capfd.readouterr().err == ""


def test_tensorflow_loads_in_silence_and_leaves_all_as_it_was():
    # Where no level is set it is 3 meanwhile.
    code = (
        "import gc, logging, os; from pipeline.console.quiet_start import load_tensorflow_quietly as load; "
        "load(); logging.getLogger('absl').warning('a notice of a library'); "
        "print(os.environ.get('TF_CPP_MIN_LOG_LEVEL'), gc.isenabled()); "
        "os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'; load(); print(os.environ['TF_CPP_MIN_LOG_LEVEL'])\n"
        "import io, PIL.Image; from pipeline.data.folders.check import check_stream; file = io.BytesIO()\n"
        "PIL.Image.effect_noise((64, 64), 50).save(file, 'jpeg'); cut = io.BytesIO(file.getvalue()[:999])\n"
        "assert check_stream(cut).problem == 'truncated or damaged'"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("None True\n3\n", "")


def test_inner_notices_stay_within_the_outer_ones(capfd):
    with hold_back_notices():
        with pytest.raises(ValueError, match="handled"), hold_back_notices():
            write_notice(ValueError("handled"))
        write_notice()
    assert capfd.readouterr().err == ""


def test_descriptors_are_given_back():
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        with hold_back_notices():
            write_notice()
    # Other threads of the test run may open a few meanwhile; a lost one would be lost each time.
    assert len(os.listdir("/proc/self/fd")) < before + 25
