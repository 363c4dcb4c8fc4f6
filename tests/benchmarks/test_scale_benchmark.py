"""The benchmark of large sets runs to its end, on small ones."""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import checkpoints, host_steps, scale
from pipeline.data.folders.folder import load_folder
from tests.benchmarks.conftest import ThisProcess


def test_scale_runs(tmp_path, monkeypatch, capsys):
    plot = tmp_path / "scale.png"
    monkeypatch.setattr(scale, "own_process", ThisProcess)
    monkeypatch.setattr(scale, "SETTLED_SECONDS", 0)
    monkeypatch.setattr(scale, "BATCHES", 2)
    monkeypatch.setattr(scale, "LINKED", 100)
    monkeypatch.setattr(sys, "argv", f"scale --rows 300 --linked-rows 400 --plot {plot}".split())
    scale.main()
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [one["rows"] for one in told["found"]] == [300, 400]
    assert {"cores", "packages", "load_before"} <= set(told["environment"])
    for one in told["found"]:
        assert set(one) == {"rows", *scale.FIGURES}
        assert one["batch_ms"] > 0
    assert [one["first_start_s"] is None for one in told["found"]] == [False, True]
    with Image.open(plot) as drawn:
        assert drawn.width > 500


def test_no_two_images_are_the_same(tmp_path):
    scale.write_images(tmp_path / "images", 700)
    source = load_folder(Path(tmp_path / "images"), max_bad_share=0)
    assert source.problems == ()
    assert np.bincount(source.labels).tolist() == [7] * 100


def test_checkpoints_runs(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["checkpoints", "--model", "resnet8", "--rounds", "2"])
    checkpoints.main()
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert all(0 < w < d for w, d in zip(told["found"]["waits_s"], told["found"]["written_s"], strict=True))


def test_host_steps_runs(monkeypatch, capsys, tmp_path):
    plot = tmp_path / "hosts.png"
    monkeypatch.setattr(host_steps, "own_process", ThisProcess)
    monkeypatch.setattr(host_steps, "PARAMETERS", {"small": 600})
    monkeypatch.setattr(sys, "argv", f"host_steps --hosts 1 --steps 2 --plot {plot}".split())
    host_steps.main()
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert 0 < told["ms"]["1"]["small"]["minimum"] <= told["ms"]["1"]["small"]["maximum"]
    assert plot.exists()
