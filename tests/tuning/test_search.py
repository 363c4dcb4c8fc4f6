"""A search as a whole: the limits that it keeps."""

import pytest
from keras_tuner.src.distribute import oracle_chief

from pipeline.config.presets import preset
from pipeline.errors import UserError
from pipeline.training.checkpoint_callbacks import Interrupted
from pipeline.training.resolve import prepare_ground
from tests.tuning.samples import make_plan
from tuning.cost import Costs
from tuning.oracles import search_oracle
from tuning.search import build_tuner, print_plan, within_limits
from tuning.search_directory import SearchDirectory
from tuning.space.budget import Budget
from tuning.space.limits import Limits
from tuning.space.search_space import Dimension, apply, nearest_values
from tuning.workers import VARIABLES


@pytest.fixture(scope="module")
def costs(tmp_path_factory) -> Costs:
    """Of all the tests' networks, each counted once."""
    return Costs(tmp_path_factory.mktemp("costs") / "costs.json", prepare_ground(make_plan().config))


def choices_within(costs: Costs, max_parameters: int) -> tuple[int, ...]:
    plan = within_limits(make_plan(limits=Limits(max_parameters=max_parameters)), costs)
    assert plan.space[0].name == "width"
    return plan.space[0].choices


def resnet18_parameters(width: int) -> int:
    """Of a CIFAR ResNet-18 with 10 classes, by the shapes of He et al. 2015, table 1."""
    total, before = 3 * width * 9 + 2 * width, width
    for stage in range(4):
        channels = width * 2**stage
        for block in range(2):
            own = channels if block else before
            total += 9 * own * channels + 9 * channels**2 + 4 * channels
            if own != channels:
                total += own * channels + 2 * channels
        before = channels
    return total + before * 10 + 10


def test_the_plan_names_the_classes_with_their_images(capsys):
    plan = make_plan()
    print_plan(plan, prepare_ground(plan.config), ())
    # As the UCI's documentation of the test part counts them.
    line = " classes  0 178, 1 182, 2 177, 3 183, 4 181, 5 182, 6 181, 7 179, 8 174, 9 180\n"
    assert line in capsys.readouterr().out


def test_a_search_begins_with_the_nearest_that_keeps_the_limits(costs):
    # Of 8, 16 and 32, where 16 is the preset's own.
    assert choices_within(costs, resnet18_parameters(16) - 1) == (8,)


def test_what_is_just_allowed_stays(costs):
    assert choices_within(costs, resnet18_parameters(16)) == (8, 16)


def test_models_and_widths_stay_with_which_a_network_keeps_the_limits(costs):
    networks = (
        Dimension("model", "the network", choices=("resnet18", "resnet34")),
        Dimension("width", "channels of the first stage", choices=(8, 16, 32)),
    )
    # Width 16 of ResNet-18, but no width of ResNet-34 but 8, whose blocks are twice as many.
    plan = make_plan(space=networks, limits=Limits(max_parameters=resnet18_parameters(16)))
    assert [dimension.choices for dimension in within_limits(plan, costs).space] == [
        ("resnet18", "resnet34"),
        (8, 16),
    ]
    plan = make_plan(space=networks, limits=Limits(max_parameters=resnet18_parameters(8)))
    assert [dimension.choices for dimension in within_limits(plan, costs).space] == [("resnet18",), (8,)]


def test_a_search_begins_with_a_network_that_keeps_the_limits_as_a_whole(costs):
    networks = (
        Dimension("model", "the network", choices=("resnet18", "resnet34")),
        Dimension("width", "channels of the first stage", choices=(8, 16)),
    )
    # The settings' own 16 is there for ResNet-18, and ResNet-34, their own, is there with 8.
    config = make_plan().config.with_values({"model": "resnet34", "width": 16})
    plan = make_plan(config=config, space=networks, limits=Limits(max_parameters=resnet18_parameters(16)))
    plan = within_limits(plan, costs)
    assert [dimension.choices for dimension in plan.space] == [("resnet18", "resnet34"), (8, 16)]
    start = nearest_values(plan.space, plan.config)
    assert start == {"model": "resnet34", "width": 8}
    assert costs.exceeded(apply(start, plan.config), plan.limits) is None


def test_a_network_stays_that_keeps_the_limits_with_another_stem(costs):
    # Images of 8 x 8 pixels are too small for the first.
    networks = (
        Dimension("stem", "the first layers", choices=("imagenet", "cifar")),
        Dimension("width", "channels of the first stage", choices=(8, 16)),
    )
    limits = Limits(max_parameters=resnet18_parameters(8))
    stems, widths = within_limits(make_plan(space=networks, limits=limits), costs).space
    assert stems == networks[0]
    assert widths.choices == (8,)


def test_a_model_without_stems_stays_beside_one_with(costs):
    networks = (
        Dimension("model", "the network", choices=("resnet18", "mlp")),
        Dimension("stem", "the first layers", choices=("cifar", "imagenet"), when=("model", ("resnet18",))),
        Dimension("width", "channels of the first stage", choices=(8,)),
    )
    plan = within_limits(make_plan(space=networks, limits=Limits(max_parameters=10**8)), costs)
    assert plan.space == networks


def test_limits_that_nothing_keeps_are_refused(costs):
    rule = f"the smallest, width 8, has {resnet18_parameters(8):,} parameters, more than"
    with pytest.raises(UserError, match=rule):
        choices_within(costs, 100)


def test_a_start_that_does_not_fit_the_data_is_passed_over(costs, tmp_path):
    # Nearest to 1,000 of two sizes is one that the 1,274 images of train cannot fill.
    sizes = (Dimension("batch_size", "images a step", choices=(16, 1900)),)
    plan = make_plan(config=preset("digits").with_values({"batch_size": 1000}), space=sizes)
    tuner = build_tuner(plan, SearchDirectory(tmp_path), prepare_ground(plan.config), costs)
    assert tuner.oracle.create_trial("tuner0").hyperparameters.values == {"batch_size": 16}


@pytest.mark.parametrize("role", ["alone", "chief"])
def test_the_time_of_a_trial_that_was_interrupted_counts(role, costs, monkeypatch, tmp_path):
    plan, directory = make_plan(budget=Budget(minutes=5)), SearchDirectory(tmp_path)
    now = [10.0]
    monkeypatch.setattr(search_oracle, "seconds_of_process", lambda: now[0])
    tuner = build_tuner(plan, directory, prepare_ground(plan.config), costs)

    def interrupted(*_: object):
        now[0] = 70.0
        raise Interrupted if role == "alone" else KeyboardInterrupt

    if role == "chief":
        tuner.oracle.create_trial("worker1")
        for name, value in zip(VARIABLES, ("chief", "unix", "socket"), strict=True):
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(oracle_chief, "start_server", interrupted)
    else:
        monkeypatch.setattr(tuner.hypermodel, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tuner.search()
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    now[0] = 0.0
    again = build_tuner(plan, directory, prepare_ground(plan.config), costs)
    assert again.oracle.seconds() == 70
    assert [trial.trial_id for trial in again.oracle.unfinished()] == ["0000"]
