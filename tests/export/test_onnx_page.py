"""The commands and programs of docs/deploy/onnx.md, as they stand there, on a bundle."""

import re
import shlex
import shutil
import subprocess
import sys

import keras
import pytest
from PIL import Image

from export.convert.saved_model import export_saved_model
from tests.commands import ROOT
from tests.prediction_samples import digits

pytest.importorskip("tf2onnx", reason="tf2onnx, of requirements-dev.txt, is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime, of requirements-dev.txt, is not installed")

PAGE = (ROOT / "docs" / "deploy" / "onnx.md").read_text()


@pytest.fixture(scope="module")
def place(digits_run, digit_bundle, tmp_path_factory):
    """A folder with a bundle, and the file that the page's command makes of it."""
    folder = tmp_path_factory.mktemp("onnx")
    shutil.copytree(digit_bundle, folder / "bundle")
    (folder / "bundle" / "golden").mkdir()
    for number in range(4):
        Image.fromarray(digits()[0][number]).save(folder / f"bundle/golden/input_{number}.png")
    network = keras.saving.load_model(digits_run / "model.keras", compile=False)
    export_saved_model(network, folder / "bundle" / "saved_model", [str(digit) for digit in range(10)])
    (command,) = re.findall(r"^\$ python (-m tf2onnx.*)$", PAGE, re.MULTILINE)
    subprocess.run([sys.executable, *shlex.split(command)], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def run(place, monkeypatch):
    """Run a program of the page, by the first words of its docstring, in that folder."""

    def execute(begins: str, *arguments: str) -> None:
        (code,) = (code for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if begins in code)
        monkeypatch.chdir(place)
        monkeypatch.setattr(sys, "path", sys.path[:])
        monkeypatch.setattr(sys, "argv", ["program.py", *arguments])
        # The bundle's own, which is imported by that name.
        monkeypatch.delitem(sys.modules, "run", raising=False)
        exec(compile(code, "program.py", "exec"), {"__name__": "__main__"})
        monkeypatch.delitem(sys.modules, "run", raising=False)

    return execute


def test_the_file_gives_the_saved_models_scores(run, capsys):
    run("Compares model.onnx")
    assert re.fullmatch(r"within \d\.\de-0[67] on 4 images, scores up to [\d.]+\n", capsys.readouterr().out)


def test_an_image_is_classified_as_by_the_bundles_float32_file(run, place, capsys):
    image = "bundle/golden/input_3.png"
    run("Classifies an image", image)
    label, chance = capsys.readouterr().out.split()
    command = [sys.executable, "bundle/run.py", image, "--model", "model_float32.tflite"]
    answer = subprocess.run(command, cwd=place, check=True, capture_output=True, text=True).stdout.split()
    assert label == answer[1]
    # Both are printed to four digits.
    assert float(chance) == pytest.approx(float(answer[2]), abs=1.01e-4)
