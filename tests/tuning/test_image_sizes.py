"""A search over sizes of the images: what it begins with, keeps, refuses, trains and leaves to `train.py`."""

import json
from typing import Any

import pytest

import train
from pipeline.config.presets import preset
from pipeline.errors import UserError
from pipeline.training.resolve import prepare_ground
from tests.commands import run_command
from tests.tuning.samples import make_plan
from tests.tuning.search_samples import SETTINGS, timeless_history, without_report
from tuning import __main__ as command
from tuning.cost import Costs
from tuning.plan import SearchPlan
from tuning.search import begin_with_a_size, verify_sizes, within_limits
from tuning.search_directory import SearchDirectory
from tuning.space.limits import Limits
from tuning.space.search_space import Dimension, nearest_values
from tuning.trials.results import load_results

WIDTH = 2


def multiply_adds(size: int) -> int:
    """Of a perceptron of `WIDTH`: all pixels to 8 x `WIDTH` units, to as many again, to 10 classes."""
    units = 8 * WIDTH
    return 3 * size**2 * units + units**2 + 10 * units


def plan_over(*sizes: int, model: str = "mlp", **changes: Any) -> SearchPlan:
    """A plan over sizes of the digits, whose own is 8."""
    config = preset("digits").with_values({"model": model, "width": WIDTH, "devices": "cpu"})
    dimension = Dimension("image_size", "pixels", choices=sizes)
    return make_plan(**{"config": config, "space": (dimension,), **changes})


@pytest.fixture(scope="module")
def costs(tmp_path_factory) -> Costs:
    return Costs(tmp_path_factory.mktemp("costs") / "costs.json", prepare_ground(plan_over(8).config))


@pytest.mark.parametrize(
    ("settings", "sizes", "start"),
    [
        ({}, (6, 16), 6),
        ({}, (4, 8, 16), 8),
        ({"image_size": 14}, (6, 16), 16),
        # Images of many sizes.
        ({"data": "folder:missing"}, (24, 32), 24),
    ],
)
def test_a_search_begins_with_the_nearest_to_the_own_size(settings, sizes, start):
    plan = plan_over(*sizes)
    plan = make_plan(config=plan.config.with_values(settings), space=plan.space)
    begun = begin_with_a_size(plan)
    assert nearest_values(begun.space, begun.config) == {"image_size": start}
    assert begun.config.data.image_size == start


def test_a_search_over_no_sizes_keeps_its_settings():
    assert begin_with_a_size(make_plan()) == make_plan()


def test_sizes_beyond_the_limits_leave_the_space_and_the_start(costs):
    plan = begin_with_a_size(plan_over(4, 6, 8, 12, limits=Limits(max_mac=multiply_adds(6))))
    plan = within_limits(plan, costs)
    assert plan.space[0].choices == (4, 6)
    assert nearest_values(plan.space, plan.config) == {"image_size": 6}


def test_where_no_size_keeps_the_limits_the_smallest_is_named(costs):
    plan = begin_with_a_size(plan_over(6, 8, limits=Limits(max_mac=multiply_adds(6) - 1)))
    with pytest.raises(UserError) as caught:
        within_limits(plan, costs)
    assert str(caught.value) == (
        f"a network of the space must keep the limits; the smallest, width {WIDTH}, image_size 6, has "
        f"{multiply_adds(6):,} multiply-adds, more than --max-mac {multiply_adds(6) - 1:,}"
    )


def test_a_size_that_no_network_takes_is_refused(costs):
    with pytest.raises(UserError) as caught:
        verify_sizes(plan_over(3, 8, model="convnet"), costs)
    assert str(caught.value) == (
        "--space image_size must hold what a network of the space takes; images for the convnet must be "
        "at least 4 x 4 pixels; received 3 x 3"
    )
    verify_sizes(plan_over(4, 8, model="convnet"), costs)
    # The perceptron takes any.
    sizes = plan_over(3, 8).space
    verify_sizes(make_plan(space=(Dimension("model", "", choices=("convnet", "mlp")), *sizes)), costs)


def test_a_search_over_sizes_trains_what_train_trains(tmp_path, monkeypatch):
    without_report(monkeypatch)
    directory = SearchDirectory(tmp_path / "search")
    arguments = [
        *SETTINGS[:-4],
        "--epochs",
        "1",
        "--confirm",
        "1x1",
        "--tuner",
        "grid",
        "--out",
        directory.path,
    ]
    arguments += ["--only", "image_size", "--space", "image_size=12|8|6", "--max-mac", multiply_adds(8)]
    outcome = run_command(command.main, *arguments, "--max-trials", 1)
    assert outcome.code == 0, outcome
    outcome = run_command(command.main, *arguments)
    assert outcome.code == 0, outcome
    assert "2 of 20 trials: nothing else is allowed" in outcome.printed
    results = load_results(directory.trials)
    searched = [result.values for result in results if result.purpose == "search"]
    # The source's own first, which a former command trained; 12 pixels cost more than is allowed.
    assert searched == [{"image_size": 8}, {"image_size": 6}]
    for result in results:
        settings = json.loads(directory.run(result.trial).config.read_text())
        assert settings["data"]["image_size"] == result.values["image_size"]
    trained = directory.run(next(result.trial for result in results if result.values == {"image_size": 6}))
    again = ["--config", trained.config, "--run-dir", tmp_path / "run"]
    assert run_command(train.main, *again).code == 0
    assert timeless_history(tmp_path / "run" / "history.csv") == timeless_history(trained.history)
    confirmed = [result for result in results if result.purpose == "confirmation"]
    winner = max(confirmed, key=lambda result: (result.accuracy, -result.cross_entropy))
    best = json.loads(directory.best_config.read_text())
    assert best["data"]["image_size"] == winner.values["image_size"]
