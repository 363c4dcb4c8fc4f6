"""`--weights imagenet` of a ResNet: the arrays of timm's repository in a run's network."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from safetensors.numpy import save_file

from pipeline.config.architectures import ARCHITECTURES, ResidualArchitecture
from pipeline.training.messages import print_plan
from tests.pipeline.training.samples import run_of

REVISION = "0123456789abcdef0123456789abcdef01234567"


def random_state() -> dict[str, np.ndarray]:
    """A residual network of two stages of a block each, as torchvision and timm call its arrays."""
    rng, state = np.random.default_rng(0), {}

    def add(conv, norm, *shape: int):
        state[f"{conv}.weight"] = rng.normal(0, 0.1, shape).astype(np.float32)
        for name in ("weight", "bias", "running_mean", "running_var"):
            state[f"{norm}.{name}"] = rng.uniform(0.5, 1.5, shape[0]).astype(np.float32)

    add("conv1", "bn1", 64, 3, 7, 7)
    for stage, width, before in ((1, 64, 64), (2, 128, 64)):
        block = f"layer{stage}.0"
        add(f"{block}.conv1", f"{block}.bn1", width, before, 3, 3)
        add(f"{block}.conv2", f"{block}.bn2", width, width, 3, 3)
    add("layer2.0.downsample.0", "layer2.0.downsample.1", 128, 64, 1, 1)
    state["fc.weight"] = rng.normal(0, 0.1, (1000, 128)).astype(np.float32)
    state["fc.bias"] = np.zeros(1000, np.float32)
    return state


@pytest.fixture
def kept(tmp_path, monkeypatch) -> Path:
    """What the hub's client keeps of timm/resnet18.a1_in1k, which here is a network of two blocks."""
    monkeypatch.setitem(ARCHITECTURES, "resnet18", ResidualArchitecture((1, 1)))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--timm--resnet18.a1_in1k"
    snapshot = repository / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    save_file(random_state(), snapshot / "model.safetensors")
    trained = {"mean": [0.5, 0.4, 0.2], "std": [0.1, 1.0, 0.2]}
    (snapshot / "config.json").write_text(json.dumps({"architecture": "resnet18", "pretrained_cfg": trained}))
    (snapshot / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    return snapshot


def test_a_run_begins_with_them_and_its_plan_says_whence_they_are(kept, tmp_path, capsys):
    settings = "digits --weights imagenet --image-size 32 --devices cpu"
    run = run_of(tmp_path / "run", *settings.split())
    print_plan(run.resolved, run.model, run.parameters, run.fresh)
    plan = capsys.readouterr().out
    digest = hashlib.sha256((kept / "model.safetensors").read_bytes()).hexdigest()
    assert (
        "weights  timm/resnet18.a1_in1k of the hub, trained on ImageNet, apache-2.0, revision 0123456789ab, "
        f"SHA-256 {digest[:16]}..."
    ) in plan
    assert "as theirs  --width 64, --stem imagenet, --shortcut projection\n" in plan
    assert "unlike  --image-size 32, theirs 224\n" in plan
    # 255 times those of config.json.
    assert "mean 127.5, 102.0, 51.0, deviation 25.5, 255.0, 51.0" in plan
    assert "head  fresh, as theirs is for other classes: n01440764" in plan
    arrays = random_state()["layer2.0.conv1.weight"]
    kernel = run.model.get_layer("stage2_block1_conv1").get_weights()[0]
    np.testing.assert_array_equal(kernel, arrays.transpose(2, 3, 1, 0))
