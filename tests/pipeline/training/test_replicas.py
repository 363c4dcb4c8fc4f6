"""Two replicas train to the weights of one, whatever is switched on."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.training.checkpoint import PARTS
from pipeline.training.run import finish
from tests.pipeline.training.samples import run_of

STEPS = 4
SETTINGS = (
    "folder_scratch --model resnet8 --image-size 16 --width 4 --epochs 2 --batch-size 32 "
    "--peak-learning-rate 0.01 --mixup 0.2 --ema-decay 0.9 --cutmix 1 --optimizer muon --seed 1"
).split()
"""Of seeds 0 to 3, 1 and 2 come near no kink of a ReLU and agree to 3e-6; 0 and 3 do, and are off by 2e-2
and 3e-3."""


@pytest.fixture(scope="module")
def noise(tmp_path_factory) -> Path:
    """Images of noise, brighter in one channel each.

    Not digits: their flat background puts thousands of activations at one value at once, and
    rounding that carries this value over a ReLU's kink changes a gradient by percents.
    """
    folder = tmp_path_factory.mktemp("noise")
    generator = np.random.default_rng(0)
    for label, name in enumerate(("red", "green", "blue")):
        (folder / name).mkdir()
        for index in range(40):
            pixels = generator.integers(0, 200, (16, 16, 3), dtype=np.uint8)
            pixels[..., label] += 55
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def teacher(noise, tmp_path_factory) -> Path:
    """A finished run of another network."""
    run_dir = tmp_path_factory.mktemp("teacher")
    data = ["--data", f"folder:{noise}", "--model", "mlp", "--epochs", "1", "--devices", "cpu"]
    run = run_of(run_dir, *SETTINGS, *data)
    run.fit([])
    finish(run)
    return run_dir


def trained(noise: Path, teacher: Path, run_dir: Path, devices: str) -> dict[str, np.ndarray]:
    """Train; return the weights, the optimizer's slots and whatever else is in the state.

    But for the mean loss, which ended on the validation: there it counts the padding as well. And for
    the parts that several replicas have of it.
    """
    learned = ["--data", f"folder:{noise}", "--teacher", str(teacher), "--teacher-precision", "float32"]
    run_of(run_dir, *SETTINGS, *learned, "--devices", devices).fit([])
    with np.load(run_dir / "checkpoints" / f"step_{STEPS:09d}.npz") as file:
        others = "progression", PARTS
        names = [name for name in file.files if name not in others and " loss/" not in name]
        return {name: file[name] for name in names}


def test_two_replicas_train_to_the_weights_of_one(noise, teacher, tmp_path):
    one = trained(noise, teacher, tmp_path / "one", "cpu")
    two = trained(noise, teacher, tmp_path / "two", "cpu:2")
    assert one.keys() == two.keys()
    for name, array in one.items():
        # Sums in another order differ by 1e-7 of their size, and four steps through 18 normalised
        # layers make that grow to 3e-4. Norms that are not synchronised are off by 1e-2 and more.
        np.testing.assert_allclose(two[name], array, rtol=1e-3, atol=1.5e-3, err_msg=name)
