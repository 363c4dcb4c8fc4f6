"""`python -m export --finetune`: which file is taken, on what that is decided, and what is kept."""

import json
import os
import signal
from functools import partial

import numpy as np
import pytest

from export.errors import ExportFailed
from export.finetune.training import Training
from export.int8 import verify_simulation


@pytest.mark.usefixtures("untimed", "without_micro", "preconverted")
def test_a_trained_file_is_tried_beside_the_calibrated_one(export, own_run, monkeypatch):
    command = partial(export, own_run, "--formats", "int8", "--finetune", "1", "--max-drop", "2")
    predict = Training.predict

    def interrupted(self: Training, images: np.ndarray) -> np.ndarray:
        os.kill(os.getpid(), signal.SIGINT)
        return predict(self, images)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "predict", interrupted)
        outcome = command()
    assert (outcome.code, outcome.error) == (130, "interrupted; no bundle was written\n")
    assert (own_run / ".finetune-export.npz").exists()
    assert not (own_run / "export").exists()

    outcome = command()
    assert outcome.code == 0, outcome.error
    assert not (own_run / ".finetune-export.npz").exists()
    report = json.loads((own_run / "export/report.json").read_text())
    assert report["times_on_test"] == {"keras": 1, "int8": 1}
    calibrated, trained = report["int8_tried"]
    assert (calibrated["trained_epochs"], trained["trained_epochs"]) == (0, 1)
    assert trained["chosen"] == (trained["accuracy"] > calibrated["accuracy"])
    assert calibrated["chosen"] != trained["chosen"]
    # Only numbers are others: of scales, equal ones are written once.
    assert abs(trained["bytes"] - calibrated["bytes"]) <= 64


def test_a_file_that_answers_otherwise_than_in_training_is_refused(capsys):
    verify_simulation(0.98, images=5000)
    with pytest.raises(ExportFailed, match=r"^int8 must answer as in training on 98% of .* 97\.99%$"):
        verify_simulation(0.9799, images=5000)
    assert "agrees with the simulation that was trained on 98.00% of validation" in capsys.readouterr().out


def test_of_a_few_images_two_may_be_answered_otherwise_than_in_training():
    """Of one that agrees on 99.6 %, an image of thirty may differ by chance, in one export of nine."""
    verify_simulation(28 / 30, images=30)
    with pytest.raises(ExportFailed, match=r"^int8 must answer as in training .* 90\.00%$"):
        verify_simulation(27 / 30, images=30)
