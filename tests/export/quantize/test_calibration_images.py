"""The images that quantisation looks at: of the calibration split, and never of test."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from export.errors import ExportFailed
from export.export import print_settings
from export.quantize.calibration_images import load_calibration
from export.request import parse_export_request
from pipeline.config.presets import preset
from pipeline.data.prepare import PreparedData
from pipeline.data.splits import Splits
from pipeline.data.table import ArrayImages, Source
from pipeline.errors import UserError
from pipeline.finished_run import FinishedRun
from pipeline.run_directory import RunDirectory


def build_run(train: int, calibration: int, copies: int = 0) -> FinishedRun:
    """A run whose pixels tell their row; test has ten rows, of which the first images are copies."""
    count = train + calibration + 10
    rows = np.arange(count)
    images = np.broadcast_to(rows[:, None, None, None], (count, 8, 8, 3)).astype(np.uint8)
    digests = rows[:, None].astype(np.uint64).repeat(2, axis=1)
    digests[:copies] = digests[-1]
    source = Source("made up", ("a", "b"), rows % 2, digests.view(np.uint8), ArrayImages(images), {})
    parts = np.split(rows, [train, train + calibration])
    splits = Splits(train=parts[0], calibration=parts[1], validation=rows[:0], test=parts[2])
    config = preset("digits").with_values({"image_size": 8})
    directory = RunDirectory(Path("run"))
    return FinishedRun(directory, config, SimpleNamespace(), PreparedData(source, splits, 8), {}, {})


def rows_of(images: np.ndarray) -> set[int]:
    return set(images[:, 0, 0, 0].tolist())


@pytest.mark.parametrize("calibration", [32, 40])
def test_a_split_that_is_large_enough_is_all(calibration):
    loaded = load_calibration(build_run(100, calibration))
    assert rows_of(loaded.images) == set(range(100, 100 + calibration))
    assert (len(loaded.images), loaded.trained_on) == (calibration, 0)


@pytest.mark.parametrize(
    ("train", "calibration", "borrowed"), [(100, 12, 20), (100, 0, 32), (9, 3, 9), (2, 0, 2)]
)
def test_a_small_split_borrows_images_that_were_trained_on(train, calibration, borrowed):
    loaded = load_calibration(build_run(train, calibration))
    rows = rows_of(loaded.images)
    assert rows >= set(range(train, train + calibration))
    assert not rows & set(range(train + calibration, train + calibration + 10))
    assert (len(loaded.images), len(rows)) == (calibration + borrowed, calibration + borrowed)
    assert loaded.trained_on == borrowed


def test_what_is_borrowed_is_said(capsys):
    run = build_run(100, 12)
    print_settings(parse_export_request(["run"]), load_calibration(run))
    assert "32 images of train, un-augmented; 20 of them were trained on" in capsys.readouterr().out


def test_images_of_test_are_not_borrowed():
    loaded = load_calibration(build_run(20, 2, copies=5))
    assert rows_of(loaded.images) == set(range(5, 22))
    assert (loaded.left_out, loaded.trained_on) == (5, 15)


def test_more_images_are_of_train():
    loaded = load_calibration(build_run(100, 40), more=60)
    assert (len(loaded.images), loaded.trained_on) == (100, 60)


def test_rows_of_test_are_never_looked_at():
    run = build_run(100, 40)
    run.data.splits.calibration[3] = run.data.splits.test[0]
    with pytest.raises(ExportFailed, match="1 of its 40 images are of test"):
        load_calibration(run)


def test_two_images_are_needed():
    with pytest.raises(UserError, match=r"^an export needs at least 2 images of train .*; received 1$"):
        load_calibration(build_run(6, 0, copies=5))
