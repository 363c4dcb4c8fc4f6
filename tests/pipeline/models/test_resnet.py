"""ResNets against a PyTorch implementation that was written from the paper, and their contracts."""

import itertools
from typing import Any

import keras
import numpy as np
import pytest

from pipeline.config.settings import ModelConfig
from pipeline.errors import UserError
from pipeline.models import build_model, resolve_model
from pipeline.models.resnet import check_stem

PIXEL_MEAN, PIXEL_STD = (125.0, 120.0, 110.0), (60.0, 62.0, 66.0)


@pytest.fixture
def dtype_policy():
    """Let a test set the global dtype policy, and put the old one back."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


def small_resnet(size=16, seed=0, **settings: Any):
    """ResNet-18's shape at an eighth of its width, on 16 px unless told otherwise."""
    return build_model(
        ModelConfig(**{"width": 8, "stem": "cifar", **settings}),
        input_shape=(size, size, 3),
        classes=10,
        pixel_mean=PIXEL_MEAN,
        pixel_std=PIXEL_STD,
        seed=seed,
    )


def random_pixels(batch, size):
    return np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)


def randomise(model):
    """Give every norm scales, offsets and statistics that no initial value hides behind."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            layer.set_weights(
                [
                    rng.uniform(0.5, 1.5, shape),
                    rng.normal(0, 0.2, shape),
                    rng.normal(0, 0.2, shape),
                    rng.uniform(0.5, 1.5, shape),
                ]
            )


def torch_resnet(model, stem):
    """PyTorch's network of `model`'s name and weights, copied in the order of the forward pass."""
    torch = pytest.importorskip("torch", reason="PyTorch is the independent reference")
    from benchmarks.torch_resnet import build_torch_resnet

    network = build_torch_resnet(model.name, model.get_layer("stem_conv").filters, classes=10, stem=stem)
    ours = {layer.name for layer in model.layers}
    names = ["stem_conv", "stem_norm"]
    parts = ("conv1", "norm1", "conv2", "norm2", "projection", "projection_norm")
    for stage, block, part in itertools.product((1, 2, 3, 4), (1, 2, 3), parts):
        name = f"stage{stage}_block{block}_{part}"
        names += [name] if name in ours else []
    layers = [layer for layer in network.modules() if list(layer.parameters(recurse=False))]
    for name, layer in zip([*names, "head"], layers, strict=True):
        first, *others = map(torch.tensor, model.get_layer(name).get_weights())
        if first.ndim > 1:
            first = first.permute(*((3, 2, 0, 1) if first.ndim == 4 else (1, 0)))
        assert layer.weight.shape == first.shape, name
        layer.weight.data = first.contiguous()
        for place, values in zip(("bias", "running_mean", "running_var"), others, strict=False):
            getattr(layer, place).data = values
    return network


def torch_logits(network, pixels):
    import torch

    normalised = (pixels.astype(np.float32) - PIXEL_MEAN) / PIXEL_STD
    with torch.no_grad():
        return network(torch.tensor(normalised, dtype=torch.float32).permute(0, 3, 1, 2)).numpy()


@pytest.mark.parametrize(
    ("name", "stem", "size"),
    [
        ("resnet18", "cifar", 32),
        ("resnet18", "cifar", 17),
        ("resnet18", "imagenet", 64),
        ("resnet18", "imagenet", 97),
        ("resnet18", "imagenet", 50),
        ("resnet20", "cifar", 16),
        ("resnet8", "cifar", 16),
    ],
)
def test_inference_equals_pytorch(name, stem, size):
    model = small_resnet(size, model=name, stem=stem)
    randomise(model)
    pixels = random_pixels(2, size)
    expected = torch_logits(torch_resnet(model, stem).eval(), pixels)
    # Both sum in float32 in orders of their own; logits here are of order 1.
    np.testing.assert_allclose(model(pixels, training=False), expected, rtol=1e-4, atol=1e-4)


def test_training_equals_pytorch():
    model = small_resnet(32)
    randomise(model)
    network = torch_resnet(model, "cifar").train()
    pixels = random_pixels(8, 32)
    logits = model(pixels, training=True)
    # As above; dividing by the batch's own deviation magnifies rounding a little.
    np.testing.assert_allclose(logits, torch_logits(network, pixels), rtol=1e-4, atol=1e-4)
    # The moving mean weighs the old value by 0.9 in both; the variances differ by n / (n - 1).
    moving = model.get_layer("stem_norm").moving_mean
    np.testing.assert_allclose(moving, network[1].running_mean, rtol=1e-5, atol=1e-6)


def test_raw_pixels_are_normalised_by_the_first_layer():
    model = small_resnet()
    normalised = keras.Model(model.input, model.get_layer("normalization").output)
    pixels = random_pixels(2, 16)
    expected = (pixels.astype(np.float64) - PIXEL_MEAN) / PIXEL_STD
    # One float32 subtraction and division.
    np.testing.assert_allclose(normalised(pixels), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(model(pixels), model(pixels.astype(np.float32)))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_normalisation_and_logits_are_float32_under_any_policy(policy, dtype_policy):
    dtype_policy(policy)
    model = small_resnet(dropout=0.5)
    normalised = keras.Model(model.input, model.get_layer("normalization").output)
    assert model.input.dtype == "float32"
    assert model.get_layer("stage4_block2_relu2").output.dtype == policy.removeprefix("mixed_")
    assert keras.backend.standardize_dtype(model(random_pixels(1, 16)).dtype) == "float32"
    # bfloat16 holds 8 bits, so 200.7 would become 201: an error of 0.3 / 60.
    expected = (200.7 - np.array(PIXEL_MEAN)) / PIXEL_STD
    pixel = normalised(np.full((1, 16, 16, 3), 200.7, np.float32))[0, 0, 0]
    np.testing.assert_allclose(pixel, expected, rtol=1e-5)


def test_weights_and_dropout_are_a_function_of_the_seed():
    pixels = random_pixels(4, 16)
    first, second, other = (small_resnet(seed=seed, dropout=0.5) for seed in (3, 3, 4))
    for mine, same in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, same)
    np.testing.assert_array_equal(first(pixels, training=True), second(pixels, training=True))
    for layer in first.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            kernel, others = layer.get_weights()[0], other.get_layer(layer.name).get_weights()[0]
            assert not np.any(kernel == others), layer.name


def test_layers_of_one_shape_start_with_different_weights():
    model = small_resnet()
    names = [f"stage1_block{block}_conv{conv}" for block in (1, 2) for conv in (1, 2)]
    kernels = [model.get_layer(name).get_weights()[0] for name in names]
    assert len({kernel.tobytes() for kernel in kernels}) == 4


def test_initial_weights_follow_he_and_pytorch():
    model = small_resnet(width=32)
    kernel = model.get_layer("stage4_block1_conv1").get_weights()[0]
    # n = 294,912 draws: the deviation's standard error is its 1 / sqrt(2 n) = 0.13 %; 5 sigma.
    assert kernel.std() == pytest.approx(np.sqrt(2 / (3 * 3 * 256)), rel=0.0065)
    # A truncated normal would stop at about 2.27 of these deviations.
    assert np.abs(kernel).max() > 3.5 * kernel.std()
    kernel, bias = model.get_layer("head").get_weights()
    bound = 1 / np.sqrt(256)
    assert 0.99 * bound < np.abs(kernel).max() <= bound
    assert not bias.any()


def test_zero_init_makes_every_block_its_shortcut():
    model = small_resnet(zero_init=True)
    sums = [layer for layer in model.layers if isinstance(layer, keras.layers.Add)]
    assert len(sums) == 8
    probe = keras.Model(model.input, [(layer.input[0], layer.output) for layer in sums])
    for shortcut, output in probe(random_pixels(2, 16), training=True):
        np.testing.assert_array_equal(shortcut, output)
        assert np.any(output)


def test_layer_names():
    names = {layer.name for layer in small_resnet(32, stem="imagenet").layers}
    assert {"pixels", "normalization", "stem_conv", "stem_norm", "stem_pool", "head"} <= names
    for stage in (1, 2, 3, 4):
        for block in (1, 2):
            prefix = f"stage{stage}_block{block}_"
            assert {prefix + part for part in ("conv1", "norm1", "conv2", "norm2")} <= names
            assert (prefix + "projection" in names) == (stage > 1 and block == 1)


def test_a_saved_model_gives_the_same_logits(tmp_path):
    model = small_resnet(dropout=0.5)
    randomise(model)
    model.save(tmp_path / "model.keras")
    pixels = random_pixels(2, 16)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(pixels), model(pixels))


@pytest.mark.parametrize(
    ("stem", "image_size", "expected"),
    [("auto", 95, "cifar"), ("auto", 96, "imagenet"), ("cifar", 224, "cifar"), ("imagenet", 32, "imagenet")],
)
def test_the_stem_suits_the_images_and_the_width_is_the_papers(stem, image_size, expected):
    resolved = resolve_model(ModelConfig(stem=stem), image_size)
    assert (resolved.stem, resolved.width) == (expected, 64)


@pytest.mark.parametrize(("image_size", "kernel_size"), [(32, 3), (96, 7)])
def test_build_model_follows_the_configuration(image_size, kernel_size):
    model = small_resnet(image_size, stem="auto", width=4, dropout=0.25, zero_init=True)
    assert model.name == "resnet18"
    assert model.get_layer("stem_conv").kernel.shape == (kernel_size, kernel_size, 3, 4)
    assert model.get_layer("dropout").rate == 0.25
    assert not np.any(model.get_layer("stage1_block1_norm2").gamma)


@pytest.mark.parametrize(("stem", "smallest"), [("cifar", 8), ("imagenet", 32)])
def test_an_image_too_small_for_the_stem_is_refused(stem, smallest):
    small_resnet(smallest, width=1, stem=stem)
    with pytest.raises(UserError, match=f"at least {smallest} .* received {smallest - 1} x"):
        small_resnet(smallest - 1, width=1, stem=stem)


def test_an_unknown_stem_is_refused():
    with pytest.raises(UserError, match="did you mean 'cifar'"):
        check_stem("cifra", (32, 32, 3), stages=4)
