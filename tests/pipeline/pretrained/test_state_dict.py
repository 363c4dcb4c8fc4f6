"""State dicts of PyTorch networks: the same logits here as there, or a refusal."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.pretrained import assign_pretrained, read_pretrained
from pipeline.pretrained.state_dict import IMAGENET_MEAN, IMAGENET_STD, PLAIN_TIMM
from tests.pipeline.pretrained.pretrained_samples import DIGITS, normalised_as, one_line, ours, random_pixels

torch = pytest.importorskip("torch", reason="PyTorch is the independent reference")

from safetensors.torch import save_file  # noqa: E402

from tests.pipeline.models.torch_family import Bottleneck, GroupedBottleneck  # noqa: E402
from tests.pipeline.pretrained.torch_network import build_network, logits, renamed  # noqa: E402

ODD = 37
"""An odd size, where poolings and paddings differ most."""


@pytest.fixture
def saved(tmp_path):
    """Save a state dict, and return its path."""

    def save(state, name="weights.pth"):
        path = tmp_path / name
        (save_file if name.endswith("safetensors") else torch.save)(state, path)
        return str(path)

    return save


NETWORKS = {
    "torchvision_18": (
        {"blocks": (2, 2, 2, 2), "stem": "imagenet"},
        {},
        {"model": "resnet18", "stem": "imagenet"},
    ),
    "kuangliu_18": (
        {"blocks": (2, 2, 2, 2)},
        {"downsample": "shortcut", "fc": "linear"},
        {"model": "resnet18"},
    ),
    "akamaster_20": (
        {"blocks": (3, 3, 3), "shortcut": "zero_padding"},
        {"fc": "linear"},
        {"model": "resnet20"},
    ),
    "timm_18d": (
        {"blocks": (2, 2, 2, 2), "shortcut": "pooling", "stem": "deep"},
        {},
        {"model": "resnet18d", "stem": "deep"},
    ),
    "torchvision_50": (
        {"blocks": (2, 1), "block": Bottleneck, "stem": "imagenet"},
        {},
        {"model": "small", "stem": "imagenet"},
    ),
    "timm_50d": (
        {"blocks": (2, 1), "block": Bottleneck, "stem": "deep", "shortcut": "pooling"},
        {},
        {"model": "small_d", "stem": "deep"},
    ),
    "torchvision_resnext50": (
        {"blocks": (2, 1), "width": 16, "block": GroupedBottleneck, "stem": "imagenet"},
        {},
        {"model": "small_x", "width": 16, "stem": "imagenet"},
    ),
}
"""Settings of the PyTorch network, names it is published with, settings of ours.

Bottleneck networks are shallow ones.
"""


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_pytorchs(name, saved, small_networks):
    theirs, names, settings = NETWORKS[name]
    network = build_network(**theirs)
    pretrained = read_pretrained(saved(renamed(network.state_dict(), names)))
    model = normalised_as(pretrained, size=ODD, **settings)
    assert assign_pretrained(pretrained, model, DIGITS) == []
    pixels = random_pixels(ODD)
    expected = logits(network, pixels, IMAGENET_MEAN, IMAGENET_STD)
    scale = np.abs(expected).max()
    # Both sum in float32 in orders of their own, through up to 20 layers.
    np.testing.assert_allclose(model(pixels) / scale, expected / scale, rtol=1e-4, atol=1e-4)


def parallel(state):
    return {f"module.{name}": value for name, value in state.items()}


@pytest.mark.parametrize(
    ("name", "wrap"),
    [
        ("weights.safetensors", dict),
        ("weights.pt", dict),
        ("weights.th", lambda state: {"state_dict": parallel(state), "best_prec1": 0.9}),
        ("weights.pth.tar", lambda state: {"epoch": 3, "state_dict": state, "arch": "resnet18"}),
        ("weights.pth", lambda state: {"model": state, "optimizer": {"state": {}}}),
        ("ckpt.pth", lambda state: {"net": parallel(state), "acc": 95.1, "epoch": 1}),
        ("tutorial.pt", lambda state: {"model_state_dict": state, "optimizer_state_dict": {"state": {}}}),
        ("other.pt", lambda state: {"epoch": 3, "classifier": state, "loss": 0.4}),
        ("half.safetensors", lambda state: {k: v.half().float() for k, v in state.items()}),
    ],
)
def test_every_wrapping_holds_the_same_weights(name, wrap, saved):
    network = build_network((1, 1, 1))
    state = network.state_dict()
    if name == "half.safetensors":
        state = {k: v.half().float() if v.is_floating_point() else v for k, v in state.items()}
    plain = read_pretrained(saved(state, "plain.pth"))
    wrapped = read_pretrained(saved(wrap(state), name))
    assert wrapped.layers.keys() == plain.layers.keys()
    assert "head" in wrapped.layers
    assert wrapped.fingerprint == plain.fingerprint


def test_16_bit_weights_are_read_as_32_bit(saved):
    state = build_network((1, 1, 1)).half().state_dict()
    for name in ("half.pth", "half.safetensors"):
        kernel = read_pretrained(saved(state, name)).layers["head"][0]
        assert kernel.dtype == np.float32
        np.testing.assert_array_equal(kernel.T, state["fc.weight"].float())


def test_pixels_are_normalised_as_imagenet_or_as_timm_says(saved, tmp_path):
    path = saved(build_network((1, 1, 1)).state_dict(), "model.safetensors")
    # 0.485 * 255, 0.229 * 255 and so on, by hand.
    assert read_pretrained(path).mean == pytest.approx((123.675, 116.28, 103.53))
    assert read_pretrained(path).std == pytest.approx((58.395, 57.12, 57.375))
    config = {"architecture": "resnet18", "pretrained_cfg": {"mean": [0.5, 0.4, 0.2], "std": [0.1, 1, 0.2]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_pretrained(path).mean == pytest.approx((127.5, 102, 51))
    assert read_pretrained(path).std == pytest.approx((25.5, 255, 51))
    config["architecture"] = "resnetblur50"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="says resnetblur50"):
        read_pretrained(path)
    (tmp_path / "config.json").write_text('{"model": "resnet18"}')
    assert read_pretrained(path).mean == pytest.approx((123.675, 116.28, 103.53))
    damages = (
        "{",
        "[]",
        "[" * 100_000 + "]" * 100_000,
        '{"pretrained_cfg": {"mean": [1, 2], "std": [1, 1]}}',
        '{"pretrained_cfg": [1]}',
        '{"architecture": "resnet18", "mean": [0.5, 0.5, NaN], "std": [1, 1, 1]}',
        '{"architecture": "resnet18", "mean": [127.5, 127.5, 127.5], "std": [1, 1, 1]}',
        '{"architecture": "resnet18", "mean": [0.5, 0.5, 0.5], "std": [0, 1, 1]}',
        '{"architecture": "resnet18"}',
        '{"architecture": "resnet18", "mean": [0.5, 0.5, 0.5], "std": [1, 1, 1], "model_args": 3}',
    )
    for damage in damages:
        (tmp_path / "config.json").write_text(damage)
        with pytest.raises(UserError, match=r"config\.json") as error:
            read_pretrained(path)
        one_line(error)
    (tmp_path / "config.json").unlink()
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(UserError, match="no regular file"):
        read_pretrained(path)


PLAIN = {"mean": [0.5, 0.4, 0.2], "std": [0.1, 1, 0.2]}
BLUR = {"aa_layer": "blurpool"}


@pytest.mark.parametrize(
    ("config", "refused_for"),
    [
        ({"architecture": "resnet18", **PLAIN}, None),
        ({"architecture": "resnet18.a1_in1k", "num_classes": 1000, "pool_size": [7, 7], **PLAIN}, None),
        ({**PLAIN}, None),
        ({"architecture": "resnet18", "pretrained_cfg": {"architecture": "resnet18", **PLAIN}}, None),
        ({"architecture": "resnet18", "model_args": {"num_classes": 3, "aa_layer": None}, **PLAIN}, None),
        ({"architecture": "resnetblur18", **PLAIN}, "resnetblur18"),
        ({"architecture": "resnet18", "model_args": BLUR, **PLAIN}, "aa_layer 'blurpool'"),
        ({"architecture": "resnet18", "model_args": BLUR, "pretrained_cfg": PLAIN}, "aa_layer 'blurpool'"),
        ({"architecture": "resnet18", "pretrained_cfg": {"model_args": BLUR, **PLAIN}}, "aa_layer"),
        ({"architecture": "resnet18", "model_args": {"act_layer": "silu"}, **PLAIN}, "act_layer 'silu'"),
        ({"architecture": "resnet18", "model_args": {"output_stride": 8}, **PLAIN}, "output_stride 8"),
        ({"architecture": "resnet18", "global_pool": "max", **PLAIN}, "global_pool 'max'"),
        ({"pretrained_cfg": {"architecture": "seresnet18", **PLAIN}}, "seresnet18"),
    ],
)
def test_both_forms_of_timms_config_are_read_and_held_to_our_network(saved, tmp_path, config, refused_for):
    path = saved(build_network((1, 1, 1)).state_dict(), "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    if refused_for:
        with pytest.raises(UserError, match=f"plain ResNet.* says {refused_for}") as error:
            read_pretrained(path)
        one_line(error)
    else:
        assert read_pretrained(path).mean == pytest.approx((127.5, 102, 51))


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "model.", "backbone.", "net.", "encoder_q.", "module._orig_mod.model."],
)
def test_a_prefix_before_every_name_is_taken_off(saved, prefix):
    state = build_network((1, 1, 1)).state_dict()
    plain = read_pretrained(saved(state, "plain.pth")).fingerprint
    wrapped = {prefix + name: value for name, value in state.items()}
    assert read_pretrained(saved(wrapped)).fingerprint == plain
    assert read_pretrained(saved({"n_averaged": torch.tensor(7), **wrapped})).fingerprint == plain
    with pytest.raises(
        UserError, match=r"other names do not begin with .* \(save the network's own"
    ) as error:
        read_pretrained(saved({**wrapped, "loss.weight": torch.ones(1)}))
    one_line(error)


@pytest.mark.parametrize(
    ("raw", "average"), [("state_dict", "state_dict_ema"), ("model", "model_ema"), ("params", "params_ema")]
)
def test_where_averaged_weights_lie_beside_the_raw_ones_it_is_said_which_are_taken(saved, raw, average):
    state = build_network((1, 1, 1)).state_dict()
    half = {name: value / 2 for name, value in state.items()}
    plain = read_pretrained(saved(state, "plain.pth"))
    both = read_pretrained(saved({average: half, raw: state, "optimizer": {"state": {}}}))
    assert both.fingerprint == plain.fingerprint
    assert both.origin.endswith(
        f", its '{raw}' (to start from its '{average}' instead: "
        f"torch.save(torch.load(FILE)['{average}'], OTHER_FILE))"
    )
    alone = read_pretrained(saved({average: half}))
    np.testing.assert_array_equal(2 * alone.layers["head"][0], plain.layers["head"][0])


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("kind", ["int8", "uint8", "int32", "float8_e4m3fn"])
def test_quantised_weights_are_refused(saved, name, kind):
    state = build_network((1, 1, 1)).state_dict()
    state["fc.weight"] = state["fc.weight"].to(getattr(torch, kind))
    with pytest.raises(UserError, match=r"not quantised; fc\.weight of") as error:
        read_pretrained(saved(state, name))
    one_line(error)


@pytest.mark.parametrize("kind", ["bfloat16", "float64"])
def test_floats_of_other_sizes_are_weights(saved, kind):
    state = {
        name: value.to(getattr(torch, kind)) if value.is_floating_point() else value
        for name, value in build_network((1, 1, 1)).state_dict().items()
    }
    fingerprints = {read_pretrained(saved(state, f"w.{end}")).fingerprint for end in ("pth", "safetensors")}
    assert len(fingerprints) == 1


def test_a_negative_variance_is_refused(saved):
    state = build_network((1, 1, 1)).state_dict()
    state["bn1.running_var"][0] = -0.5
    with pytest.raises(UserError, match=r"bn1 has a variance of -0\.5") as error:
        read_pretrained(saved(state))
    one_line(error)


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors", "weights.keras"])
def test_a_fifo_is_refused_and_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match="must be a regular file") as error:
        read_pretrained(str(tmp_path / name))
    one_line(error)


@pytest.mark.parametrize(
    ("architecture", "plain"),
    [
        ("resnet18", True),
        ("resnet50d", True),
        ("resnext50_32x4d", True),
        ("tv_resnet34", True),
        ("resnetaa50", False),
        ("resnetblur18", False),
        ("seresnet50", False),
        ("vgg16", False),
    ],
)
def test_which_of_timms_networks_are_plain(architecture, plain):
    assert bool(PLAIN_TIMM.fullmatch(architecture)) == plain


def test_the_fingerprint_tells_one_changed_weight(saved):
    state = build_network((1, 1, 1)).state_dict()
    before = read_pretrained(saved(state)).fingerprint
    assert read_pretrained(saved(state)).fingerprint == before
    state["layer2.0.conv1.weight"][0, 0, 0, 0] += 1e-3
    assert read_pretrained(saved(state)).fingerprint != before


def without(state, ending):
    return {name: value for name, value in state.items() if not name.endswith(ending)}


STRANGE = {
    "another network": (lambda s: {"features.0.weight": s["conv1.weight"]}, "features.0.weight"),
    "a lone array": (lambda s: {**s, "temperature": torch.ones(1)}, "it has temperature"),
    "attention": (
        lambda s: {**s, **{f"layer1.0.se.fc1.{p}": torch.ones(1) for p in ("weight", "bias")}},
        "layer1.0.se.fc1.weight and 1 more",
    ),
    "norms of groups": (lambda s: without(s, ("running_mean", "running_var")), "bn1 is no"),
    "pre-activation": (
        lambda s: without(
            s, tuple(f"downsample.1.{p}" for p in ("weight", "bias", "running_mean", "running_var"))
        ),
        "not all a convolution and a norm",
    ),
    "two heads": (lambda s: {**s, "linear.weight": s["fc.weight"]}, "the same layer"),
    "not finite": (lambda s: {**s, "fc.bias": s["fc.bias"] * torch.nan}, "head of .* is not"),
    "no arrays": (lambda s: {"conv1.weight": "text"}, "must hold a state dict"),
    "a list": (lambda s: [s["conv1.weight"]], "must hold a state dict"),
    "empty": (lambda s: {}, "must hold a state dict"),
}


@pytest.mark.parametrize("case", STRANGE)
def test_what_is_no_residual_network_is_refused(case, saved):
    change, message = STRANGE[case]
    path = saved(change(build_network((1, 1, 1)).state_dict()))
    with pytest.raises(UserError, match=message) as error:
        read_pretrained(path)
    one_line(error)


def test_a_pickled_network_is_refused(saved):
    with pytest.raises(UserError, match=r"torch\.save\(network\.state_dict\(\)") as error:
        read_pretrained(saved(build_network((1, 1, 1))))
    one_line(error)


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("damage", ["empty", "short", "noise"])
def test_a_damaged_file_is_refused(name, damage, saved):
    path = saved(build_network((1, 1, 1)).state_dict(), name)
    whole, noise = Path(path).read_bytes(), np.random.default_rng(0).bytes(500)
    damaged = {"empty": b"", "short": whole[: len(whole) // 2], "noise": noise}
    Path(path).write_bytes(damaged[damage])
    with pytest.raises(UserError, match="--weights must be a whole") as error:
        read_pretrained(path)
    assert path in one_line(error)


def test_a_flipped_bit_is_refused(saved):
    path = saved(build_network((1, 1, 1)).state_dict())
    whole = bytearray(Path(path).read_bytes())
    whole[len(whole) // 2] ^= 1
    Path(path).write_bytes(whole)
    with pytest.raises(UserError, match="is damaged"):
        read_pretrained(path)


def test_a_missing_pytorch_is_named(saved, monkeypatch):
    path = saved(build_network((1, 1, 1)).state_dict())
    state = saved(build_network((1, 1, 1)).state_dict(), "weights.safetensors")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match="needs the package torch: pip install torch"):
        read_pretrained(path)
    assert read_pretrained(state).layers


def test_shortcuts_of_another_kind_are_refused_though_the_shapes_fit(saved):
    pooled = build_network((2, 2, 2, 2), shortcut="pooling")
    pretrained = read_pretrained(saved(pooled.state_dict()))
    with pytest.raises(UserError, match=r"shortcut is pooling, here projection.*resnet18d") as error:
        assign_pretrained(pretrained, ours(), DIGITS)
    one_line(error)
    padded = build_network((3, 3, 3), shortcut="zero_padding")
    pretrained = read_pretrained(saved(padded.state_dict()))
    with pytest.raises(UserError, match="shortcut is zero_padding, here none"):
        assign_pretrained(pretrained, ours(model="resnet20", shortcut="none"), DIGITS)
