"""Runs and .keras files as pretrained weights: the same bits, or a refusal."""

import re
import zipfile

import keras
import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.pretrained import assign_pretrained, read_pretrained
from tests.pipeline.pretrained.pretrained_samples import DIGITS, normalised_as, one_line, ours, random_pixels


@pytest.mark.parametrize("part", ["", "model.keras"])
def test_a_run_gives_back_its_logits_bit_by_bit(part, digits_run):
    trained = keras.saving.load_model(digits_run / "model.keras")
    pretrained = read_pretrained(str(digits_run / part))
    assert str(digits_run) in pretrained.origin
    network = normalised_as(pretrained, size=trained.input_shape[1], model="resnet8", width=12)
    assert assign_pretrained(pretrained, network, DIGITS) == []
    pixels = random_pixels(trained.input_shape[1])
    np.testing.assert_array_equal(network(pixels), trained(pixels))


@pytest.mark.parametrize("part", ["", "model.keras"])
def test_a_head_for_classes_of_other_names_is_left_fresh(part, digits_run):
    pretrained = read_pretrained(str(digits_run / part))
    assert pretrained.class_names == DIGITS
    network = normalised_as(pretrained, size=8, model="resnet8", width=12)
    before = [np.array(w) for w in network.get_layer("head").get_weights()]
    for names in (tuple("abcdefghij"), DIGITS[::-1]):
        assert assign_pretrained(pretrained, network, names) == ["head"]
        for old, new in zip(before, network.get_layer("head").get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(network.get_layer("stem_conv").kernel, pretrained.layers["stem_conv"][0])


def test_a_file_that_left_its_run_names_no_classes(own_run):
    moved = own_run.parent / "model.keras"
    (own_run / "model.keras").rename(moved)
    assert read_pretrained(str(moved)).class_names is None


@pytest.mark.parametrize("splits", ["{}", '{"class_names": 7}', '{"class_names": ["a", "b"]}', "[[[["])
def test_a_run_that_does_not_name_its_classes_is_refused(own_run, splits):
    (own_run / "splits.json").write_text(splits)
    with pytest.raises(UserError, match=r"splits\.json") as error:
        read_pretrained(str(own_run))
    one_line(error)


def spoil(model, layer: str, place: int, value: float) -> None:
    weight = model.get_layer(layer).weights[place]
    weight.assign(np.full(weight.shape, value, np.float32))


@pytest.mark.parametrize(
    ("layer", "place", "value", "message"),
    [
        ("stem_conv", 0, np.nan, "must hold finite weights; stem_conv/kernel is not"),
        ("stem_norm", 3, np.inf, "must hold finite weights; stem_norm/moving_variance is not"),
        ("stem_norm", 3, -0.25, "variances of at least 0; stem_norm has -0.25"),
    ],
)
def test_weights_that_no_training_leaves_are_refused(tmp_path, layer, place, value, message):
    model = ours(model="resnet8")
    spoil(model, layer, place, value)
    model.save(tmp_path / "model.keras")
    with pytest.raises(UserError, match=message) as error:
        read_pretrained(str(tmp_path / "model.keras"))
    one_line(error)


def test_an_unfinished_run_is_refused(own_run):
    (own_run / "metrics.json").unlink()
    with pytest.raises(UserError, match="must be finished"):
        read_pretrained(str(own_run))


def test_the_normalisation_is_the_files_own(tmp_path):
    ours(model="resnet8", mean=(120.0, 110.5, 99.0), std=(60.0, 61.0, 1.5)).save(tmp_path / "model.keras")
    pretrained = read_pretrained(str(tmp_path / "model.keras"))
    # float32 has 24 bits.
    assert pretrained.mean == pytest.approx((120.0, 110.5, 99.0), rel=1e-7)
    assert pretrained.std == pytest.approx((60.0, 61.0, 1.5), rel=1e-7)


def test_another_epsilon_moves_into_the_variance(tmp_path):
    source = ours(model="resnet8", mean=(0.0,) * 3, std=(1.0,) * 3)
    rng = np.random.default_rng(0)
    for layer in source.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.epsilon = 1e-3
            # Small variances, to which a thousandth is much.
            layer.moving_variance.assign(rng.uniform(0.001, 0.01, layer.gamma.shape))
    source.save(tmp_path / "model.keras")
    pretrained = read_pretrained(str(tmp_path / "model.keras"))
    network = normalised_as(pretrained, model="resnet8")
    assign_pretrained(pretrained, network, DIGITS)
    pixels = random_pixels()
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("stem_norm").epsilon == 1e-3
    # One more rounding of float32 a norm.
    np.testing.assert_allclose(network(pixels), loaded(pixels), rtol=1e-4)


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "model.keras"
    network = ours(model="resnet8")
    network.save(path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    # One bit of one weight: HDF5 would not notice.
    flipped[whole.index(np.asarray(network.get_layer("head").kernel).tobytes())] ^= 1
    for damage in (b"", whole[: len(whole) // 2], bytes(flipped), b"no archive" * 9):
        path.write_bytes(damage)
        with pytest.raises(UserError, match=f"{re.escape(str(path))} must be a whole") as error:
            read_pretrained(str(path))
        one_line(error)


def test_an_archive_of_something_else_is_refused(tmp_path):
    path = tmp_path / "model.keras"
    for content in ("{", "[]", "{}", '{"class_name": "Nothing", "config": {}}', '"text"'):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", content)
            archive.writestr("metadata.json", "{}")
        with pytest.raises(UserError, match="must be a whole Keras model") as error:
            read_pretrained(str(path))
        one_line(error)


@pytest.mark.parametrize("name", ["no.keras", "no.pth", "no/where", "no.safetensors"])
def test_what_does_not_exist_is_named(name, tmp_path):
    with pytest.raises(UserError, match=r"--weights must exist; received .*no") as error:
        read_pretrained(str(tmp_path / name))
    one_line(error)


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "weights.onnx").write_bytes(b"")
    with pytest.raises(UserError, match=r"file of \.keras, \.pth, .*weights\.onnx"):
        read_pretrained(str(tmp_path / "weights.onnx"))


def test_an_empty_directory_is_refused(tmp_path):
    with pytest.raises(UserError, match="must hold a finished run"):
        read_pretrained(str(tmp_path))
