"""The code is linted and formatted."""

import subprocess
import sys

import pytest

from tests.commands import ROOT

pytest.importorskip("ruff", reason="ruff, of requirements-dev.txt, is not installed")


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_ruff_is_content(command):
    result = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout
