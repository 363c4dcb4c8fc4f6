"""The network of `build` is the very one that is trained; `fit` is tested in test_trial.py."""

import dataclasses
import math

import keras_tuner
import pytest

from pipeline.config.presets import preset
from pipeline.run_directory import RunDirectory
from pipeline.training.resolve import prepare_ground, resolve
from pipeline.training.train import open_run
from tests.tuning.samples import make_plan
from tuning.hypermodel import ClassifierHyperModel
from tuning.search_directory import SearchDirectory


@pytest.fixture(scope="module")
def ground():
    return prepare_ground(preset("digits").with_values({"devices": "cpu"}))


@pytest.mark.parametrize(
    ("own", "values"),
    [
        ({}, {"width": 12, "dropout": 0.25}),
        ({"dropout": 0.5, "width": 4, "optimizer": "adamw"}, {"width": 4, "dropout": 0.0}),
        ({"image_size": 32, "stem": "imagenet", "zero_init": True, "dropout": 0.1}, {"width": 3}),
    ],
)
def test_the_network_is_the_one_that_is_trained(own, values, ground, tmp_path):
    config = preset("digits").with_values({"devices": "cpu", **own})
    if "image_size" in own:
        data = dataclasses.replace(ground.data, image_size=own["image_size"])
        ground = dataclasses.replace(ground, data=data)
    hp = keras_tuner.HyperParameters()
    hp.values = values
    plan, folder = make_plan(config=config), SearchDirectory(tmp_path)
    built = ClassifierHyperModel(plan, ground, folder, lambda trial, accuracies: None).build(hp)
    # What `train.py` trains with these settings, none of it through the hyperparameters.
    directory = RunDirectory(tmp_path / "run")
    with directory.open():
        trained = open_run(resolve(config.with_values(values), ground), directory).model
    assert built.count_params() == trained.count_params()
    assert [layer.name for layer in built.layers] == [layer.name for layer in trained.layers]
    assert (built.input_shape, built.output_shape) == (trained.input_shape, trained.output_shape)
    assert [math.prod(w.shape) for w in built.weights] == [math.prod(w.shape) for w in trained.weights]
    rates = [layer.rate for layer in built.layers if hasattr(layer, "rate")]
    assert rates == [layer.rate for layer in trained.layers if hasattr(layer, "rate")]
    share = values.get("dropout", own.get("dropout", 0.0))
    assert rates == ([share] if share else [])
