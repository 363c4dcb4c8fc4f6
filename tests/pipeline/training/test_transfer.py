"""Freezing, and lower rates for earlier parts, against the same optimizer at that very rate."""

import keras
import numpy as np
import pytest

from pipeline.config.settings import OPTIMIZERS, FitConfig, ModelConfig, TransferConfig
from pipeline.errors import UserError
from pipeline.models import build_model
from pipeline.training.optimization import TwoPhaseSchedule, WarmupSchedule, build_optimizer, build_schedule
from pipeline.training.transfer import freeze, parts_of, rate_factors

STAGES = ["stage1", "stage2", "stage3", "stage4"]


def network(model: str = "resnet18", **settings: str) -> keras.Model:
    return build_model(
        ModelConfig(model=model, width=2, **settings),
        input_shape=(32, 32, 3),
        classes=3,
        pixel_mean=(0.0,) * 3,
        pixel_std=(1.0,) * 3,
        seed=0,
    )


def layer_names(model: keras.Model, trainable: bool) -> set[str]:
    return {layer.name for layer in model.layers if layer.weights and layer.trainable == trainable}


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        ("resnet18", ["stem", *STAGES, "head"]),
        ("resnet20", ["stem", *STAGES[:3], "head"]),
        ("preresnet18", ["stem", *STAGES, "final", "head"]),
        ("efficientnet_lite0", ["stem", *(f"stage{number}" for number in range(1, 8)), "top", "head"]),
        ("densenet121", ["stem", *STAGES, "final", "head"]),
        ("vgg16", [*STAGES, "stage5", "head"]),
        ("convnet", ["stage1", "stage2", "hidden", "head"]),
        ("mlp", ["hidden1", "hidden2", "head"]),
    ],
)
def test_parts(model, parts):
    assert parts_of(network(model)) == parts


@pytest.mark.parametrize(
    ("last", "trains"),
    [
        ("none", ["stem", *STAGES, "head"]),
        ("stem", [*STAGES, "head"]),
        ("stage3", ["stage4", "head"]),
        ("stage4", ["head"]),
        ("backbone", ["head"]),
    ],
)
def test_only_what_comes_after_the_frozen_part_trains(last, trains):
    model = network(stem="deep")
    freeze(model, last)
    names = layer_names(model, trainable=True)
    assert {name.partition("_")[0] for name in names} == set(trains)
    assert layer_names(model, trainable=False).isdisjoint(names)
    freeze(model, "none")
    assert not layer_names(model, trainable=False)


def test_the_final_norm_of_a_preactivation_network_is_backbone():
    model = network("preresnet18")
    freeze(model, "stage4")
    assert layer_names(model, trainable=True) == {"final_norm", "head"}
    freeze(model, "backbone")
    assert layer_names(model, trainable=True) == {"head"}


@pytest.mark.parametrize(("model", "last"), [("resnet20", "stage4"), ("convnet", "stem")])
def test_a_part_that_is_not_there_is_refused(model, last):
    with pytest.raises(UserError, match=f"^--freeze must name a part of {model} .*received {last}"):
        freeze(network(model), last)


def test_frozen_norms_compute_as_in_inference():
    model = network()
    freeze(model, "backbone")
    before = model.get_weights()
    pixels = np.random.default_rng(0).uniform(0, 255, (8, 32, 32, 3)).astype(np.float32)
    np.testing.assert_array_equal(model(pixels, training=True), model(pixels, training=False))
    for weight, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_rates_fall_by_a_factor_from_each_part_to_the_one_before_it():
    model = network("resnet20")
    factors = rate_factors(model, 0.5)
    powers = {"stem": 4, "stage1": 3, "stage2": 2, "stage3": 1, "head": 0}
    for variable, factor in zip(model.trainable_variables, factors, strict=True):
        assert factor == 0.5 ** powers[variable.path.partition("_")[0].partition("/")[0]]
    assert len(set(factors)) == 5


def values_after_steps(config: FitConfig, rates: list[float], factors: list[float] | None):
    """Two kernels and a bias after three steps, each by the optimizer of its rate."""
    draw = np.random.default_rng(1)
    start = [draw.normal(0, 1, shape).astype(np.float32) for shape in ((4, 3), (4, 3), (3,))]
    gradients = [[draw.normal(0, 1, s.shape).astype(np.float32) for s in start] for _ in range(3)]
    names = ("kernel", "kernel", "bias")
    variables = [keras.Variable(s, name=n) for s, n in zip(start, names, strict=True)]
    groups = [range(3)] if factors else [[place] for place in range(3)]
    for group, rate in zip(groups, rates, strict=False):
        schedule = WarmupSchedule("triangular", rate, 10)
        optimizer = build_optimizer(config, schedule, factors)
        chosen = [variables[place] for place in group]
        for step in gradients:
            optimizer.apply([keras.ops.convert_to_tensor(step[p]) for p in group], chosen)
    return [variable.numpy() for variable in variables]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_factor_is_a_rate_of_ones_own(name):
    config = FitConfig(optimizer=name, weight_decay=0.3)
    factors = [0.5, 1.0, 0.125]
    received = values_after_steps(config, [0.02], factors)
    expected = values_after_steps(config, [0.02 * factor for factor in factors], None)
    for mine, theirs in zip(received, expected, strict=True):
        # The powers of two multiply exactly, but at another place of a product.
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-7)
    assert np.abs(received[0] - values_after_steps(config, [0.02] * 3, None)[0]).max() > 1e-4


def test_clipping_still_sees_all_gradients_together():
    config = FitConfig(optimizer="sgd", clip_norm=1.0, weight_decay=0.0)
    pair = [keras.Variable(np.zeros(1, np.float32), name="kernel") for _ in range(2)]
    schedule = WarmupSchedule("constant", 0.1, 10)
    gradients = [keras.ops.convert_to_tensor([3.0]), keras.ops.convert_to_tensor([4.0])]
    build_optimizer(config, schedule, [0.5, 1.0]).apply(gradients, pair)
    # A norm of 5 becomes 1; then rates of 0.05 and 0.1.
    np.testing.assert_allclose([float(v[0]) for v in pair], [-0.05 * 3 / 5, -0.1 * 4 / 5], rtol=1e-6)


def test_gradients_of_a_part_leave_the_rest_bit_for_bit():
    optimizer = build_optimizer(FitConfig(), WarmupSchedule("constant", 0.1, 10), [0.5, 1.0])
    pair = [keras.Variable(np.full(2, 0.3, np.float32), name="kernel") for _ in range(2)]
    optimizer.build(pair)
    optimizer.apply([keras.ops.convert_to_tensor([1.0, 1.0])], pair[1:])
    np.testing.assert_array_equal(pair[0], np.full(2, 0.3, np.float32))
    assert np.all(pair[1].numpy() < 0.3)


def test_fine_tuning_warms_up_and_decays_anew():
    config = FitConfig(epochs=4, schedule="triangular", peak_learning_rate=0.4, warmup_share=0.25)
    transfer = TransferConfig(weights="run", freeze="stage3", finetune_epochs=2, finetune_rate=0.05)
    schedule = build_schedule(config, transfer, steps_per_epoch=10)
    # 40 steps, 10 of warm-up, to 0.4; then 20 steps, 5 of warm-up, to 0.02.
    expected = {
        0: 0.04,
        9: 0.4,
        10: 0.4,
        25: 0.2,
        39: 0.4 / 30,
        40: 0.004,
        44: 0.02,
        45: 0.02,
        51: 0.02 * 9 / 15,
        59: 0.02 / 15,
    }
    received = [float(schedule(step)) for step in expected]
    np.testing.assert_allclose(received, list(expected.values()), rtol=1e-5)
    assert isinstance(schedule, TwoPhaseSchedule)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert [float(again(step)) for step in expected] == received


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"freeze": "stage3"}, "--freeze needs --weights to keep; received --freeze stage3"),
        ({"weights": "run", "finetune_epochs": 3}, "--finetune-epochs needs --freeze"),
        ({"weights": "run", "freeze": "stage8"}, "unknown --freeze 'stage8'; did you mean"),
        ({"finetune_rate": 0.0}, "--finetune-rate must be above 0"),
        ({"stage_rate_decay": 1.5}, "--stage-rate-decay must be above 0 and at most 1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, rule):
    with pytest.raises(UserError, match=rule):
        TransferConfig(**settings)
