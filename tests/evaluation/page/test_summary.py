"""What is printed at the end: a line for each network or run, and what comes next."""

from pathlib import Path

import pytest

from evaluation.page.summary import print_comparison, print_next, print_summary

LIMIT = 20.0


def estimate(value: float, low: float, high: float) -> dict:
    return {"value": value, "interval_95": [low, high]}


def figures(accuracy: dict, robustness: dict | None, ece: float, scaled: float, t: float) -> dict:
    return {
        "accuracy": {"top1": accuracy},
        "robustness": robustness
        and {"mean": robustness, "clean": estimate(0.925, 0.9, 0.95), "images": 1000},
        "calibration": {
            "temperature": t,
            "temperature_at_limit": t == LIMIT,
            "validation_images": 1234,
            "before": {"ece_equal_width": estimate(ece, 0, 1)},
            "after": {"ece_equal_width": estimate(scaled, 0, 1)},
        },
    }


REPORT = {
    "new_images": None,
    "networks": {
        "keras": figures(estimate(0.95124, 0.94, 0.9617), estimate(0.7, 0.6, 0.8), 0.02504, 0.00406, 1.3754),
        "int8": figures(estimate(1, 0.98765, 1), None, 0.1, 0.05, 0.9),
    },
}


def table(printed: str) -> list[list[str]]:
    """Cells of each line, which two spaces or more part."""
    assert printed.startswith("\n")
    lines = printed.strip("\n").splitlines()
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]


def test_a_line_for_each_network(capsys):
    print_summary(REPORT)
    assert table(capsys.readouterr().out) == [
        ["network", "accuracy (95 %)", "corrupted (clean)", "calibration error", "temperature"],
        ["keras", "95.12% (94.00 to 96.17)", "70.00% (92.50%)", "0.0250, scaled 0.0041", "1.375"],
        ["int8", "100.00% (98.77 to 100.00)", "-", "0.1000, scaled 0.0500", "0.900"],
        ["corrupted and clean are the same 1,000 images of test"],
    ]


def test_what_must_be_known_of_new_images_is_said(capsys):
    told = {
        "data": "folder:new",
        "images": 20,
        "learned": [f"new/{k}.png" for k in range(4)],
        "left_out": [["new/x.png", "truncated or damaged"]],
    }
    networks = {"keras": figures(estimate(1, 1, 1), None, 0, 0, 1.0)}
    print_summary({"new_images": told, "run": {"recorded_test_accuracy": 0.9}, "networks": networks})
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "on 20 images of folder:new; of its own test 90.00%",
        "4 of the 20 images of folder:new are among those that the run was trained on: "
        "new/0.png, new/1.png, new/2.png, ...",
        "1 file is left out: new/x.png (truncated or damaged)",
    ]


def test_nothing_is_said_of_corruptions_that_were_not_measured(capsys):
    print_summary({"new_images": None, "networks": {"keras": figures(estimate(1, 1, 1), None, 0, 0, 1.0)}})
    assert table(capsys.readouterr().out) == [
        ["network", "accuracy (95 %)", "calibration error", "temperature"],
        ["keras", "100.00% (100.00 to 100.00)", "0.0000, scaled 0.0000", "1.000"],
    ]


def next_steps(temperature: float, run: Path, capsys, scaled: float = 0.01) -> list[str]:
    report = {"networks": {"keras": figures(estimate(1, 1, 1), None, 0.02, scaled, temperature)}}
    print_next(report, run, [run / "evaluation" / name for name in ("report.html", "report.json")])
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("temperature", "flag"), [(1.3754, "1.375"), (0.97, "0.970"), (1.03, "1.030"), (0.06, "0.060")]
)
def test_a_temperature_that_matters_is_to_be_folded(capsys, temperature, flag):
    assert next_steps(temperature, Path("runs/one"), capsys) == [
        "",
        "everything lies in runs/one/evaluation: report.html, report.json",
        "next, by the temperature of 1,234 validation images:",
        f"  python -m export runs/one --temperature {flag}",
    ]


@pytest.mark.parametrize("temperature", [1.0, 0.985, 1.015, LIMIT])
def test_a_temperature_near_one_or_at_the_limit_is_left(capsys, temperature):
    assert len(next_steps(temperature, Path("runs/one"), capsys)) == 2


@pytest.mark.parametrize(("scaled", "lines"), [(0.019, 4), (0.02, 2), (0.03, 2)])
def test_a_temperature_that_does_not_lower_the_calibration_error_is_not_offered(capsys, scaled, lines):
    assert len(next_steps(1.3754, Path("runs/one"), capsys, scaled)) == lines


@pytest.mark.parametrize(("folded", "lines"), [(1.0, 4), (1.38, 2), (0.8, 4)])
def test_a_temperature_that_the_exported_file_has_is_not_folded_again(capsys, folded, lines):
    int8 = {**figures(estimate(1, 1, 1), None, 0, 0, 1.0), "folded_temperature": folded}
    report = {"networks": {**REPORT["networks"], "int8": int8}}
    print_next(report, Path("runs/one"), [Path("there/report.html")])
    assert len(capsys.readouterr().out.splitlines()) == lines


def test_what_comes_next_can_be_pasted_into_a_shell(capsys):
    *_, line = next_steps(2, Path("my runs/one's"), capsys)
    assert line == """  python -m export 'my runs/one'"'"'s' --temperature 2.000"""


def test_a_line_for_each_run(capsys):
    behind = {"drop_points": 1.236, "drop_interval_95_points": [-0.5, 2.25]}
    cost = {
        "learned": 0,
        "parameters": 1234567,
        "multiply_adds": 9876543210,
        "int8_bytes": 1536000,
        "int8_latency_p50_ms": 0.98765,
        "int8_latency_interval_ms": [0.95, 1.0004],
    }
    print_comparison(
        {
            "runs": [
                {
                    "run": "large",
                    "accuracy": estimate(0.9, 0.88, 0.92),
                    "behind_best": None,
                    "as_fast_as_best": None,
                    "corrupted_accuracy": estimate(0.75, 0.7, 0.8),
                    "corrupted_clean": estimate(0.91, 0.9, 0.92),
                    **cost,
                },
                {
                    "run": "small",
                    "accuracy": estimate(0.8877, 0.87, 0.9),
                    "behind_best": behind,
                    "as_fast_as_best": True,
                    "corrupted_accuracy": None,
                    "corrupted_clean": None,
                    **cost,
                    "int8_bytes": 512,
                },
            ]
        }
    )
    assert table(capsys.readouterr().out) == [
        [
            "run",
            "accuracy (95 %)",
            "behind the best, points",
            "corrupted (clean)",
            "parameters",
            "multiply-adds",
            "int8 KiB",
            "int8 ms (97 %)",
        ],
        [
            "large",
            "90.00% (88.00 to 92.00)",
            "-",
            "75.00% (91.00%)",
            "1,234,567",
            "9,876,543,210",
            "1,500.0",
            "0.988 (0.950 to 1.000)",
        ],
        [
            "small",
            "88.77% (87.00 to 90.00)",
            "1.24 (-0.50 to 2.25)",
            "-",
            "1,234,567",
            "9,876,543,210",
            "0.5",
            "0.988 (0.950 to 1.000), not told apart",
        ],
    ]
