"""The Pareto front as files and lines: which trials, and which of them the images cannot tell apart."""

from types import SimpleNamespace

import pytest

from pipeline.config.config import Config, load_values
from tests.tuning.samples import make_plan, make_result
from tuning.report.front import describe_front, differ, list_front, write_front
from tuning.search_directory import SearchDirectory
from tuning.space.search_space import Dimension
from tuning.trials.results import CONFIRMATION, STOPPED


def cost(kib: float, latency: float) -> SimpleNamespace:
    return SimpleNamespace(int8_bytes=int(1024 * kib), latency_ms=latency)


RESULTS = [
    make_result(0, 0.75, values={"width": 16, "dropout": 0.25}),
    make_result(1, 0.5, values={"width": 8, "dropout": 0.0}),
    # As large as trial 0 and worse, but faster than anything as good.
    make_result(2, 0.7, values={"width": 16, "dropout": 0.0}),
    make_result(3, 0.4, values={"width": 32, "dropout": 0.0}),
    make_result(4, 0.9, status=STOPPED),
    make_result(5, 0.9, purpose=CONFIRMATION),
]
COSTS = {
    "0000": cost(40, 4.0),
    "0001": cost(20, 1.0),
    "0002": cost(40, 3.0),
    "0003": cost(80, 5.0),
    "0004": cost(1, 0.1),
    "0005": cost(1, 0.1),
}


def test_the_front_is_what_none_beats_at_its_size_or_latency():
    assert [trial.trial for trial in list_front(RESULTS, COSTS)] == ["0001", "0000", "0002"]


def test_each_of_it_is_a_configuration_and_nothing_older_stays(tmp_path):
    plan, directory = make_plan(), SearchDirectory(tmp_path)
    write_front(plan, directory, RESULTS[3:4])
    write_front(plan, directory, list_front(RESULTS, COSTS))
    assert sorted(path.name for path in directory.front.iterdir()) == ["0000.json", "0001.json", "0002.json"]
    config = Config().with_values(load_values(directory.front / "0000.json"))
    assert (config.model.width, config.model.dropout) == (16, 0.25)
    # The splits of the search, whose test no trial looked at.
    assert config.data.split_seed == plan.config.split_seed


@pytest.mark.parametrize(
    ("accuracy", "images", "expected"),
    [
        # Of 0.5 and 0.6: 1.96 sqrt(0.25 / n + 0.24 / n) is 0.1 at n = 188 (with two images more, 0.7 less).
        (0.6, 180, False),
        (0.6, 200, True),
        (0.5, 10**6, False),
    ],
)
def test_accuracies_differ_where_chance_would_not_have_them(accuracy, images, expected):
    assert differ(make_result(0, 0.5), make_result(1, accuracy), images) is expected


def test_a_line_says_what_cannot_be_told_apart():
    front = list_front(RESULTS, COSTS)
    lines = [" ".join(line.split()) for line in describe_front(make_plan(), front, COSTS, 100)]
    # sqrt(51 / 102 * 51 / 102 / 100), and 76 and 71 of 102.
    assert lines == [
        "0001 50.00 ± 5.00 % 20.0 KiB 1.000 ms resnet18, width 8",
        "0000 75.00 ± 4.36 % 40.0 KiB 4.000 ms resnet18, width 16",
        "0002 70.00 ± 4.60 % 40.0 KiB 3.000 ms resnet18, width 16 (not told apart from 0000)",
    ]


def test_a_line_has_the_size_of_the_images_where_that_is_searched():
    space = (Dimension("image_size", "pixels", choices=(24, 48)),)
    front = [make_result(0, values={"image_size": 48})]
    (line,) = describe_front(make_plan(space=space), front, COSTS, 100)
    assert line.endswith("resnet18, width 16, 48 pixels")
