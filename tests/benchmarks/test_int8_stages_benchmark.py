"""The benchmark of the stages from a float network to the int8 file: what it reads, and its picture."""

import json
import re
from pathlib import Path

from PIL import Image

from benchmarks import int8_stages

SPLITS = {"splits": {"validation": {"images": 200}, "test": {"images": 1000}}}


def write_run(folder: Path, validation: float, test: float, splits: object = SPLITS) -> Path:
    folder.mkdir()
    metrics = {
        "test": {"images": 1000, "accuracy": test, "cross_entropy": 1.0},
        "validation": {"images": 200, "best_epoch": 1, "accuracy": validation, "cross_entropy": 1.0},
        "epochs": 1,
        "steps": 1,
        "parameters": 1,
        "multiply_adds": 1,
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "splits.json").write_text(json.dumps(splits))
    return folder


def write_export(run: Path) -> None:
    tried = [
        {"what": "500 images", "trained_epochs": 0, "accuracy": 0.88, "chosen": False},
        {"what": "trained", "trained_epochs": 2, "accuracy": 0.89, "chosen": True},
    ]
    report = {
        "files": {"int8": {"accuracy": 0.876, "test_images": 1000}},
        "int8_tried": [each | {"validation_images": 200} for each in tried],
    }
    (run / "export").mkdir()
    (run / "export/report.json").write_text(json.dumps(report))


def test_every_stage_is_told_with_its_interval_and_drawn(tmp_path, capsys):
    plain, taught = write_run(tmp_path / "a", 0.86, 0.85), write_run(tmp_path / "b", 0.9, 0.875)
    write_export(taught)
    plot = tmp_path / "stages.png"
    assert int8_stages.main([str(plain), str(taught), "--plot", str(plot)]) == 0
    # Wilson's intervals of 172, 180, 176 and 178 of 200, and 850, 875 and 876 of 1,000.
    assert [re.split("  +", line) for line in capsys.readouterr().out.splitlines()] == [
        ["stage", "validation (95 %)", "test (95 %)"],
        ["float32, labels alone", "86.00% (80.51 to 90.13)", "85.00% (82.65 to 87.08)"],
        ["float32, a teacher", "90.00% (85.06 to 93.43)", "87.50% (85.31 to 89.41)"],
        ["int8, calibrated: 500 images", "88.00% (82.77 to 91.80)", "not looked at"],
        ["int8, trained 2 epochs", "89.00% (83.91 to 92.62)", "87.60% (85.41 to 89.50)"],
    ]
    with Image.open(plot) as image:
        assert image.width > 500


def test_runs_of_other_splits_and_without_an_export_are_refused(tmp_path, capsys):
    plain, taught = write_run(tmp_path / "a", 0.86, 0.85), write_run(tmp_path / "b", 0.9, 0.875)
    assert int8_stages.main([str(plain), str(taught)]) == 2
    assert "export/report.json" in capsys.readouterr().err
    write_export(taught)
    other = write_run(tmp_path / "c", 0.9, 0.9, {"splits": SPLITS["splits"] | {"train": {}}})
    assert int8_stages.main([str(other), str(taught)]) == 2
    assert "both runs must have the same splits" in capsys.readouterr().err
