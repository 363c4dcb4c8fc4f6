"""A run without what `train.py` does around it, which takes as long as a small run, and what ends one."""

from pathlib import Path

import keras

from pipeline.console.training_request import parse_training_request
from pipeline.run_directory import RunDirectory
from pipeline.training.resolve import prepare_ground, resolve
from pipeline.training.run import TrainingRun
from pipeline.training.train import open_run


def run_of(run_dir: Path, *arguments: str) -> TrainingRun:
    """Open the run that `train.py` would open with these arguments."""
    config = parse_training_request([*arguments]).chosen.build_config()
    directory = RunDirectory(run_dir)
    for folder in (directory.checkpoints, directory.plots):
        folder.mkdir(parents=True, exist_ok=True)
    return open_run(resolve(config, prepare_ground(config)), directory)


class StopAt(keras.callbacks.Callback):
    """End `fit` as a kill would, after a step."""

    def __init__(self, run: TrainingRun, step: int) -> None:
        super().__init__()
        self.run, self.step = run, step

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        if self.run.progression.step == self.step:
            raise KeyboardInterrupt
