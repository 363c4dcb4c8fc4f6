"""The comparison of runs: who is best, how far the others are behind, and the front."""

import json
from pathlib import Path

import numpy as np
import pytest

from evaluation.comparison import COSTS, Compared, build_comparison, compare_runs
from evaluation.metrics.intervals import Estimate
from evaluation.report_directory import ReportDirectory
from evaluation.request import Request
from pipeline.errors import UserError
from pipeline.finished_run import load_run_data
from pipeline.run_directory import RunDirectory
from pipeline.tflite.file import TFLiteFile
from tests.evaluation.comparison_sample import (
    ENVIRONMENT,
    LABELS,
    NAMES,
    build,
    estimate,
    latencies_of,
    report,
)
from tests.pipeline.training.samples import run_of
from tests.quick_export import leave_out_timing

WRONG = {"best": [7], "near": [0, 1], "far": [0, 2, 3, 7]}
"""Run -> images that it gets wrong; against the best `near` loses 2 and wins 1."""


def predicted(run: str) -> np.ndarray:
    wrong = np.isin(np.arange(8), WRONG[run])
    return np.where(wrong, (LABELS + 1) % 3, LABELS)


def on_front(comparison: dict, cost: str) -> set[str]:
    return {row["run"] for row in comparison["runs"] if row["on_front"][cost]}


def test_the_most_accurate_comes_first_and_of_equals_the_first_named():
    comparison = build(far=report(0.5), one=report(0.9), two=report(0.9), near=report(0.6))
    assert [row["run"] for row in comparison["runs"]] == ["one", "two", "near", "far"]
    assert comparison["best"] == "one"


def test_how_far_each_is_behind_the_best_is_counted_image_by_image():
    reports = {run: report(1 - len(WRONG[run]) / 8) for run in ("far", "best", "near")}
    answered = {run: (LABELS, predicted(run)) for run in reports}
    comparison = build_comparison(reports, answered, latencies_of(reports))
    rows = {row["run"]: row["behind_best"] for row in comparison["runs"]}
    assert rows["best"] is None
    near, far = rows["near"], rows["far"]
    assert (near["lost"], near["won"], near["drop_points"]) == (2, 1, 12.5)
    # Images 0, 1 and 7 are answered otherwise.
    assert near["agreement"] == 5 / 8
    assert (far["lost"], far["won"], far["drop_points"]) == (3, 0, 37.5)
    assert far["agreement"] == 5 / 8
    # Agresti and Min 2005, with half an image more in each of four cells: 3.5 and 0.5 of 10.
    centre, reach = 3.5 - 0.5, 1.959964 * np.sqrt(4 - 3**2 / 10)
    expected = [100 * (centre - reach) / 10, 100 * (centre + reach) / 10]
    assert far["drop_interval_95_points"] == pytest.approx(expected)


def test_a_class_that_only_one_run_names_is_counted():
    answered = {
        "one": (np.array([0, 0, 1]), np.array([0, 0, 1])),
        "two": (np.array([0, 0, 1]), np.array([0, 5, 1])),
    }
    reports = {"one": report(1), "two": report(0.5)}
    (_, two) = build_comparison(reports, answered, latencies_of(reports))["runs"]
    assert (two["behind_best"]["lost"], two["behind_best"]["won"]) == (1, 0)


def test_the_front_of_each_cost():
    comparison = build(
        large=report(0.9, work=100, size=100, time=5),
        small=report(0.7, work=10, size=40, time=9),
        # Dearer than small and less accurate by work and size, but the fastest.
        odd=report(0.6, work=20, size=50, time=1),
        middle=report(0.8, work=50, size=100, time=5),
    )
    assert comparison["costs"] == list(COSTS)
    assert on_front(comparison, "multiply_adds") == {"large", "middle", "small"}
    assert on_front(comparison, "int8_bytes") == {"large", "small"}
    assert on_front(comparison, "int8_latency_p50_ms") == {"large", "odd"}


def fronts_of(**runs: tuple[float, float, float]) -> tuple[set[str], dict]:
    """Of accuracies and intervals: those on the front, and whether each is as fast as the best."""
    reports = {name: report(accuracy) for name, (accuracy, _, _) in runs.items()}
    times = {name: Estimate((low + high) / 2, low, high) for name, (_, low, high) in runs.items()}
    comparison = build_comparison(reports, dict.fromkeys(runs, (LABELS, LABELS)), times)
    alike = {row["run"]: row["as_fast_as_best"] for row in comparison["runs"]}
    return on_front(comparison, "int8_latency_p50_ms"), alike


def test_times_whose_intervals_overlap_are_not_told_apart():
    alike, apart, one = {"one": None, "two": True}, {"one": None, "two": False}, (0.9, 1.0, 1.2)
    # The same network twice: the one that happened to be faster does not beat the other.
    assert fronts_of(one=one, two=(0.9, 0.9, 1.0)) == ({"one", "two"}, alike)
    assert fronts_of(one=one, two=(0.9, 0.9, 0.99)) == ({"two"}, apart)
    # Less accurate, and not surely faster.
    assert fronts_of(one=one, two=(0.8, 0.9, 1.1)) == ({"one"}, alike)
    assert fronts_of(one=one, two=(0.8, 0.8, 0.9)) == ({"one", "two"}, apart)
    assert fronts_of(one=one, two=(0.8, 1.3, 1.4)) == ({"one"}, apart)


def test_a_row_holds_the_figures_of_its_run():
    comparison = build(
        one=report(
            0.5,
            30,
            40,
            2.5,
            width=16,
            robustness={"mean": estimate(0.3), "clean": estimate(0.6)},
            preview=True,
        )
    )
    (row,) = comparison["runs"]
    assert row == {
        "run": "one",
        "model": "resnet18",
        "width": 16,
        "epochs": 3,
        "seed": 0,
        "accuracy": estimate(0.5),
        "learned": 0,
        "corrupted_accuracy": estimate(0.3),
        "corrupted_clean": estimate(0.6),
        "ece": estimate(0.2),
        "ece_scaled": estimate(0.1),
        "parameters": 100,
        "multiply_adds": 30,
        "int8_bytes": 40,
        "int8_latency_p50_ms": 2.5,
        "int8_latency_interval_ms": [0.99 * 2.5, 1.01 * 2.5],
        "int8_preview": True,
        "behind_best": None,
        "as_fast_as_best": None,
        "on_front": dict.fromkeys(COSTS, True),
    }
    assert (comparison["data"], comparison["images"]) == ("digits", 8)
    assert comparison["environment"] == ENVIRONMENT
    (plain,) = build(one=report(0.5))["runs"]
    assert plain["corrupted_accuracy"] is plain["corrupted_clean"] is None


def put_run(path: Path) -> RunDirectory:
    path.mkdir(parents=True)
    splits = {"splits": {"test": {"fingerprint": "f00d"}}}
    (path / "splits.json").write_text(json.dumps(splits))
    return RunDirectory(path)


def request(out: Path, *runs: RunDirectory) -> Request:
    return Request(runs, out, None, False, 0)


@pytest.fixture(autouse=True)
def _untimed(monkeypatch):
    leave_out_timing(monkeypatch)


class Evaluated:
    """Stands in for the evaluation of a run, whose parent or own folder says which it is."""

    def __init__(self) -> None:
        self.asked: list[tuple[RunDirectory, Path, Request]] = []

    def __call__(self, run: RunDirectory, out: ReportDirectory, request: Request) -> Compared:
        self.asked.append((run, out.path, request))
        name = next(part for part in reversed(run.path.parts) if part in WRONG)
        out.path.mkdir()
        rows = zip(LABELS, predicted(name), strict=True)
        lines = [f"{NAMES[label]},{NAMES[found]}" for label, found in rows]
        out.predictions.write_text("\n".join(["label,keras_predicted", *lines]) + "\n")
        return compared(report(1 - len(WRONG[name]) / 8))


def compared(content: dict) -> Compared:
    """With a file that is not timed."""
    return Compared(content, TFLiteFile(b""), np.zeros((1, 8, 8, 3), np.uint8))


def test_every_run_is_measured_in_its_own_place_and_compared(tmp_path, capsys):
    runs = [put_run(tmp_path / name) for name in ("near", "best")]
    asked, evaluated = request(tmp_path / "a" / "comparison", *runs), Evaluated()
    compare_runs(asked, evaluated)
    assert evaluated.asked == [(run, run.path / "evaluation", asked) for run in runs]
    comparison = json.loads((asked.out / "comparison.json").read_text())
    assert [row["run"] for row in comparison["runs"]] == ["best", "near"]
    assert comparison["runs"][1]["behind_best"]["lost"] == 2
    assert (asked.out / "comparison.html").read_text().rstrip().endswith("</html>")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["near:", "best:"]
    assert lines[-1] == f"everything lies in {asked.out}: comparison.html, comparison.json"


@pytest.mark.parametrize(
    ("places", "names"),
    [
        (("a/best", "b/near"), {"best", "near"}),
        (("best/run", "near/run"), {"best/run", "near/run"}),
        (("best/run", "near/run", "far"), {"best/run", "near/run", "far"}),
    ],
)
def test_runs_are_named_by_their_folders_where_that_tells_them_apart(tmp_path, monkeypatch, places, names):
    monkeypatch.chdir(tmp_path)
    runs = [put_run(Path(place)) for place in places]
    compare_runs(request(tmp_path / "out", *runs), Evaluated())
    comparison = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert {row["run"] for row in comparison["runs"]} == names


def test_a_run_in_this_very_folder_has_its_name(tmp_path, monkeypatch):
    other = put_run(tmp_path / "near")
    put_run(tmp_path / "best")
    monkeypatch.chdir(tmp_path / "best")
    compare_runs(request(tmp_path / "out", RunDirectory(Path(".")), other), _named_here)
    comparison = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert {row["run"] for row in comparison["runs"]} == {"best", "near"}


def _named_here(run: RunDirectory, out: ReportDirectory, request: Request) -> Compared:
    return Evaluated()(RunDirectory(run.path.resolve()), out, request)


def digits_run_of(path: Path, *settings: str) -> RunDirectory:
    """As far as the images of a finished run of digits are read."""
    run_of(path, "digits", "--model", "convnet", "--width", "4", *settings)
    (path / "metrics.json").write_text("{}")
    return RunDirectory(path)


def test_runs_of_which_one_left_images_out_are_compared_on_what_both_have(tmp_path, capsys):
    one = digits_run_of(tmp_path / "one")
    splits = load_run_data(one).splits
    left_out = [splits.test[5], splits.test[9], splits.train[0]]
    (tmp_path / "list.csv").write_text("row\n" + "".join(f"{row}\n" for row in left_out))
    two = digits_run_of(tmp_path / "two", "--exclude", str(tmp_path / "list.csv"))
    # By their places in the test of `one`.
    wrong = {"one": [5, 9, 20], "two": [20, 30]}

    def answer(run: RunDirectory, out: ReportDirectory, _: Request) -> Compared:
        name, rows = run.path.name, splits.test
        is_wrong = np.isin(np.arange(len(rows)), wrong[name])
        kept = np.isin(rows, load_run_data(run).splits.test)
        labels = load_run_data(run).source.labels[rows]
        lines = [
            f"{a},{b}"
            for a, b in zip(labels[kept], np.where(is_wrong, (labels + 1) % 10, labels)[kept], strict=True)
        ]
        out.path.mkdir()
        out.predictions.write_text("\n".join(["label,keras_predicted", *lines]) + "\n")
        return compared(report(0.5) | {"class_names": [str(digit) for digit in range(10)]})

    compare_runs(request(tmp_path / "out", one, two), answer)
    comparison = json.loads((tmp_path / "out" / "comparison.json").read_text())
    first, second = comparison["runs"]
    # On the 268 images `one` has one mistake and `two` two, of which they share one.
    assert (comparison["best"], comparison["images"]) == ("one", 268)
    assert [row["accuracy"]["value"] for row in (first, second)] == [267 / 268, 266 / 268]
    assert (second["behind_best"]["lost"], second["behind_best"]["won"]) == (1, 0)
    assert first["ece"] is first["corrupted_accuracy"] is None
    assert comparison["shared"]["tests"] == {"one": 270, "two": 268}
    told = capsys.readouterr().out.splitlines()
    assert "the tests are not the same: one has 270, two has 268; 268 are shared" in told
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "compared on the 268 images of <b>digits</b> that all their tests share" in page

    other = digits_run_of(tmp_path / "other", "--split-seed", "3")
    with pytest.raises(
        UserError, match=r"^runs to compare must share .*one has 270, other has 270; \d+ are"
    ) as raised:
        compare_runs(request(tmp_path / "elsewhere", one, other), answer)
    assert "left out, which another was trained on" in str(raised.value)
    assert not (tmp_path / "elsewhere").exists()


def test_a_run_that_cannot_be_measured_leaves_no_comparison(tmp_path):
    runs = [put_run(tmp_path / name) for name in ("best", "near")]

    def refuse(*_: object) -> Compared:
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        compare_runs(request(tmp_path / "out", *runs), refuse)
    assert not (tmp_path / "out").exists()
