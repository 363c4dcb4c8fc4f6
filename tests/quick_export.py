"""Exports and evaluations without what takes longest, for tests that do not look at it."""

import functools

import pytest

LEFT_OUT = "left out by this test"


def leave_out_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the measuring of speed, in an evaluation as well."""
    from evaluation.metrics import cost
    from export import export as exporter
    from export.quantize import search
    from pipeline.tflite.latency import Latency

    latency = Latency(1, 1.0, 1.0, 1.0, 1.0, 1.0, 1000.0, None, 1, 1, 1)
    for module in (exporter, search):
        monkeypatch.setattr(module, "measure_file", lambda *_, **__: latency)
    monkeypatch.setattr(cost, "time_in_turns", lambda files, **_: iter([[1.0] * len(files)]))


def draw_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an evaluation draw fewer samples for its intervals, which take seconds a network."""
    from evaluation import evaluate

    few = functools.partial(evaluate.describe_networks, resamples=20)
    monkeypatch.setattr(evaluate, "describe_networks", few)


def leave_out_micro(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out TensorFlow Lite Micro, as where it is not installed."""
    from export import int8

    monkeypatch.setattr(int8, "verify_on_micro", lambda *_, **__: LEFT_OUT)
