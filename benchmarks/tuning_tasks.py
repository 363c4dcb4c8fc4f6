"""Real tasks of the tuning benchmark: every configuration trained once, its learning curve kept.

A run is a function of its settings and its seed, so a trial that ends early saw the beginning of
the whole curve, and any number of searches can be tried over one table of curves.
"""

import dataclasses
import itertools
import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from benchmarks.tuning_contenders import Curve, Task, search_plan, share_within
from pipeline.config.config import Config, flat_values
from pipeline.config.presets import preset
from pipeline.console.progress import Progress
from pipeline.errors import UserError
from pipeline.files.json_file import read_json
from pipeline.files.whole import write_whole
from pipeline.run_directory import RunDirectory
from pipeline.training.checkpoint import Progression
from pipeline.training.checkpoint_callbacks import Interrupted
from pipeline.training.resolve import Ground, images_in_place, prepare_ground, resolve
from pipeline.training.run import TrainingRun, evaluation_batches
from pipeline.training.train import open_run
from pipeline.training.variables import NonFinite, to_numpy
from tuning.oracles.oracles import combinations
from tuning.space.narrowing import keep_only, narrow
from tuning.space.search_space import Dimension, Space, Values, apply, search_space


@dataclass(frozen=True)
class Recipe:
    """What a task trains.

    Attributes:
        settings: that differ from the preset of the task's name.
        seeds: of the trainings; a search sees those of one of them.
        train: most images to train on; None for all.
        validation: most images to measure on; None for all.
    """

    settings: dict[str, Any]
    seeds: tuple[int, ...] = (0, 1)
    train: int | None = None
    validation: int | None = None


NETWORKS = (
    Dimension("model", "the network", choices=("convnet", "resnet8")),
    Dimension("width", "channels of the first stage", choices=(4, 8)),
    Dimension(
        "shortcut", "where shapes differ", choices=("projection", "none"), when=("model", ("resnet8",))
    ),
)
"""Three hyperparameters of the architecture."""

CHOICES = {
    "optimizer": "nesterov|adamw",
    "peak_learning_rate": "0.01|0.03|0.1|0.3",
    "adaptive_learning_rate": "0.003|0.01",
    "weight_decay": "5e-4|5e-2",
}
"""What is left of the hyperparameters of the default space, in the form of `--space`."""

SETTINGS = {"model": "resnet8", "width": 8, "epochs": 9, "ema_decay": 0.999}
"""That differ from the presets. Rungs of 1, 3 and 9 epochs, scored by the moving average of the weights."""

RECIPES = {
    # Half a point is 3.8 of the 764 validation images.
    "digits": Recipe(SETTINGS | {"validation_share": 0.5}),
    "cifar10": Recipe(
        SETTINGS | {"image_size": 16, "batch_size": 64, "crop_padding": 2, "cutout": 4},
        seeds=(0,),
        train=1000,
        validation=1000,
    ),
}

NUMBERS = ("peak_learning_rate", "adaptive_learning_rate", "weight_decay")
"""Those of them that a training reads anew at each step."""


def searched(name: str) -> tuple[Config, Space]:
    """Return the settings that a task searches around, and its space."""
    config = preset(name).with_values(RECIPES[name].settings)
    text = ",".join(f"{dimension}={choices}" for dimension, choices in CHOICES.items())
    space, config = narrow(search_space(config), config, text)
    return config, (*NETWORKS, *keep_only(space, config, list(CHOICES)))


def trained_task(name: str, folder: Path, *, averaged: bool = True) -> Task:
    """Train what the table in `folder` lacks, and return the task over the whole of it.

    Args:
        name: of the task.
        folder: of the tables.
        averaged: a search sees the moving average of the weights validated, not the weights.

    Raises:
        KeyboardInterrupt: a signal asked to stop; what was trained whole is kept.
        UserError: the data is missing, or the table is of other settings.
    """
    config, space = searched(name)
    table = CurveTable(folder / f"{name}.json", config)
    everything = list(combinations(search_plan(config, space, seed=0, trials=1)))
    wanted = [(values, seed) for seed in RECIPES[name].seeds for values in everything]
    missing = [(values, seed) for values, seed in wanted if (values, seed) not in table]
    if missing:
        fill(table, missing, name, config, done=len(wanted) - len(missing))
    by_seed = [
        {key(values): table.curve(values, seed, averaged=averaged) for values in everything}
        for seed in RECIPES[name].seeds
    ]
    best = [max(max(curve.accuracies) for curve in curves.values()) for curves in by_seed]
    return Task(
        name,
        config,
        space,
        curve=lambda values, seed: by_seed[seed % len(by_seed)][key(values)],
        best=lambda seed: best[seed % len(best)],
        share=share_within(by_seed[0].values(), best[0]),
        trials=len(everything),
    )


def fill(
    table: "CurveTable", missing: list[tuple[Values, int]], name: str, config: Config, done: int
) -> None:
    """Train each configuration that is missing, and note its curve."""
    recipe, ground = RECIPES[name], prepare_ground(config)
    splits = ground.data.splits
    splits = dataclasses.replace(
        splits, train=splits.train[: recipe.train], validation=splits.validation[: recipe.validation]
    )
    ground = dataclasses.replace(ground, data=dataclasses.replace(ground.data, splits=splits))
    table.images = len(splits.validation)
    total = done + len(missing)
    with Progress(total, f"training {name}", "trainings", done) as progress:
        for (_, seed), group in itertools.groupby(missing, lambda one: (_traced(one[0]), one[1])):
            settings = [values for values, _ in group]
            configs = [
                apply(values, config).with_values({"seed": seed, "split_seed": config.split_seed})
                for values in settings
            ]
            for values, curve in zip(settings, train(configs, ground), strict=True):
                table.add(values, seed, curve)
                progress.update(1)


def _traced(values: Values) -> Values:
    """Return what the graph of a training step depends on."""
    return {name: value for name, value in values.items() if name not in NUMBERS}


class ValidateWeights(keras.callbacks.Callback):
    """Validate the weights themselves after each epoch, beside their moving average.

    Args:
        validation: batches.
    """

    def __init__(self, validation: tf.data.Dataset) -> None:
        super().__init__()
        self.validation = validation
        self.figures: list[tuple[float, float]] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Validate."""
        found = self.model.evaluate(self.validation, return_dict=True, verbose=0)
        self.figures.append((found["accuracy"], found["cross_entropy"]))


def train(configs: Sequence[Config], ground: Ground) -> Iterator[list[tuple[float, ...]]]:
    """Train configurations that differ in `NUMBERS` alone, each from the start, in a scratch directory.

    Most of so short a training would be building and tracing, so that is done once: the two numbers
    become variables, and before each training every variable gets back its first value.

    Where the weights stop being finite, the rest of the epochs count as nothing right, for all
    contenders alike: Keras' own `fit` would go on.

    Yields:
        Of each epoch accuracy and cross-entropy of the moving average of the weights, and both of
        the weights.

    Raises:
        KeyboardInterrupt: a signal asked to stop.
    """
    with tempfile.TemporaryDirectory() as scratch, images_in_place():
        directory = RunDirectory(Path(scratch))
        with directory.open():
            run = open_run(resolve(configs[0], ground), directory)
            rate, decay = tf.Variable(0.0), tf.Variable(0.0)
            run.schedule.peak, run.model.optimizer.weight_decay = rate, decay
            start = {name: to_numpy(variable) for name, variable in run.checkpoints.variables.items()}
            for config in configs:
                rate.assign(config.fit.peak_learning_rate)
                decay.assign(config.fit.weight_decay)
                for name, variable in run.checkpoints.variables.items():
                    variable.assign(start[name])
                run.progression = Progression()
                yield _curve(run)


def _curve(run: TrainingRun) -> list[tuple[float, ...]]:
    """Train a run from its start; return the figures of each epoch."""
    weights = ValidateWeights(evaluation_batches(run.resolved, "validation"))
    try:
        run.fit([weights])
    except Interrupted:
        raise KeyboardInterrupt from None
    except NonFinite as error:
        print(f"{error}: the rest of the epochs count as nothing right")
    epochs: list[tuple[float, ...]] = [
        (row["val_accuracy"], row["val_cross_entropy"], *own)
        for row, own in zip(run.progression.history, weights.figures, strict=False)
    ]
    rest = run.resolved.config.fit.epochs - len(epochs)
    return epochs + rest * [(0.0, math.inf, 0.0, math.inf)]


class CurveTable:
    """Learning curves of one task in a JSON file, written anew after each training.

    Attributes:
        images: of validation.

    Raises:
        UserError: the file is of other settings than `config`, or no such table.
    """

    def __init__(self, path: Path, config: Config) -> None:
        self.path, self._settings = path, dataclasses.asdict(config)
        self._curves: dict[str, list[list[float]]] = {}
        self.images = 0
        if path.exists():
            known = read_json(path, ("settings", "curves", "images"), of="a table")
            self._curves, self.images = known["curves"], known["images"]
            # A setting that came later is at its default.
            if Config().with_values(flat_values(known["settings"], path)) != config:
                raise UserError(f"--table must be of the same settings or new; received {path}")

    def __contains__(self, training: tuple[Values, int]) -> bool:
        return key(*training) in self._curves

    def curve(self, values: Values, seed: int, *, averaged: bool) -> Curve:
        """Return the curve of a configuration."""
        first = 0 if averaged else 2
        accuracies, cross_entropies, *_ = zip(
            *(row[first:] for row in self._curves[key(values, seed)]), strict=True
        )
        return Curve(accuracies, cross_entropies, self.images)

    def add(self, values: Values, seed: int, epochs: list[tuple[float, ...]]) -> None:
        """Note the figures of each epoch, and write the table, a line for each training."""
        self._curves[key(values, seed)] = [[round(figure, 5) for figure in epoch] for epoch in epochs]
        lines = [f"  {json.dumps(name)}: {json.dumps(curve)}" for name, curve in self._curves.items()]
        text = (
            f'{{"settings": {json.dumps(self._settings)},\n"images": {self.images},\n"curves": {{\n'
            + ",\n".join(lines)
            + "\n}}\n"
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, lambda aside: aside.write_text(text))


def key(values: Values, seed: int = 0) -> str:
    """Name one training of a configuration."""
    return ", ".join(f"{name} {value}" for name, value in (*sorted(values.items()), ("seed", seed)))
