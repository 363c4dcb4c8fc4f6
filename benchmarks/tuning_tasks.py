"""Real tasks of the tuning benchmark: every configuration trained once, its learning curve kept.

A run is a function of its settings and its seed, so a trial that ends early saw the beginning of
the whole curve, and any number of searches can be tried over one table of curves.
"""

import dataclasses
import json
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.tuning_contenders import Curve, Task, search_plan, share_within
from pipeline.config.config import Config
from pipeline.config.presets import preset
from pipeline.console.progress import Progress
from pipeline.errors import UserError
from pipeline.files.json_file import read_json
from pipeline.files.whole import write_whole
from pipeline.run_directory import RunDirectory
from pipeline.training.checkpoint_callbacks import Interrupted
from pipeline.training.resolve import Ground, images_in_place, prepare_ground, resolve
from pipeline.training.train import open_run
from pipeline.training.variables import NonFinite
from tuning.oracles.oracles import combinations
from tuning.space.narrowing import keep_only, narrow
from tuning.space.search_space import Space, Values, apply, search_space


@dataclass(frozen=True)
class Recipe:
    """What a task trains.

    Attributes:
        settings: that differ from the preset of the task's name.
        choices: of each hyperparameter, in the form of `--space`.
        train: most images to train on; None for all.
        validation: most images to measure on; None for all.
    """

    settings: dict[str, Any]
    choices: dict[str, str]
    train: int | None = None
    validation: int | None = None


RECIPES = {
    # Half a point is 3.8 of the 764 validation images.
    "digits": Recipe(
        {"width": 8, "epochs": 6, "validation_share": 0.5},
        {
            "optimizer": "nesterov|adamw",
            "peak_learning_rate": "0.01|0.03|0.1|0.3|1",
            "adaptive_learning_rate": "0.0003|0.001|0.003|0.01|0.03",
            "weight_decay": "5e-5|5e-4|5e-3|5e-2",
            "label_smoothing": "0|0.1",
        },
    ),
    "cifar10": Recipe(
        {"width": 8, "epochs": 5},
        {
            "optimizer": "nesterov|adamw",
            "peak_learning_rate": "0.01|0.03|0.1|0.3|1",
            "adaptive_learning_rate": "0.001|0.003|0.01",
            "weight_decay": "5e-4|5e-2",
            "augment_strength": "0|1",
        },
        train=4000,
        validation=2000,
    ),
}


def searched(name: str) -> tuple[Config, Space]:
    """Return the settings that a task searches around, and its space."""
    recipe = RECIPES[name]
    config = preset(name).with_values(recipe.settings)
    text = ",".join(f"{dimension}={choices}" for dimension, choices in recipe.choices.items())
    space, config = narrow(search_space(config), config, text)
    return config, keep_only(space, config, list(recipe.choices))


def trained_task(name: str, folder: Path) -> Task:
    """Train what the table in `folder` lacks, and return the task over the whole of it.

    Raises:
        KeyboardInterrupt: a signal asked to stop; what was trained whole is kept.
        UserError: the data is missing, or the table is of other settings.
    """
    config, space = searched(name)
    table = CurveTable(folder / f"{name}.json", config)
    everything = list(combinations(search_plan(config, space, seed=0, trials=1)))
    missing = [values for values in everything if values not in table]
    if missing:
        fill(table, missing, name, config, done=len(everything) - len(missing))
    curves = [table.curve(values) for values in everything]
    best = max(max(curve.accuracies) for curve in curves)
    share = share_within(curves, best)
    return Task(name, config, space, lambda values, seed: table.curve(values), best, share)


def fill(table: "CurveTable", missing: list[Values], name: str, config: Config, done: int) -> None:
    """Train each configuration that is missing, and note its curve."""
    recipe, ground = RECIPES[name], prepare_ground(config)
    splits = ground.data.splits
    splits = dataclasses.replace(
        splits, train=splits.train[: recipe.train], validation=splits.validation[: recipe.validation]
    )
    ground = dataclasses.replace(ground, data=dataclasses.replace(ground.data, splits=splits))
    table.images = len(splits.validation)
    total = done + len(missing)
    with Progress(total, f"training {name}", "configurations", done) as progress:
        for values in missing:
            table.add(values, list(train(apply(values, config), ground)))
            progress.update(1)


def train(config: Config, ground: Ground) -> Iterator[tuple[float, float]]:
    """Train a configuration in a scratch directory; yield accuracy and cross-entropy of each epoch.

    Where the weights stop being finite, the rest of the epochs count as nothing right, for all
    contenders alike: Keras' own `fit` would go on.

    Raises:
        KeyboardInterrupt: a signal asked to stop.
    """
    with tempfile.TemporaryDirectory() as scratch, images_in_place():
        directory = RunDirectory(Path(scratch))
        with directory.open():
            run = open_run(resolve(config, ground), directory)
            try:
                run.fit([])
            except Interrupted:
                raise KeyboardInterrupt from None
            except NonFinite as error:
                print(f"{error}: the rest of the epochs count as nothing right")
            history = run.progression.history
    for row in history:
        yield row["val_accuracy"], row["val_cross_entropy"]
    for _ in range(config.fit.epochs - len(history)):
        yield 0.0, math.inf


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
            if known["settings"] != self._settings:
                raise UserError(f"--table must be of the same settings or new; received {path}")

    def __contains__(self, values: Values) -> bool:
        return _key(values) in self._curves

    def curve(self, values: Values) -> Curve:
        """Return the curve of a configuration."""
        accuracies, cross_entropies = zip(*self._curves[_key(values)], strict=True)
        return Curve(accuracies, cross_entropies, self.images)

    def add(self, values: Values, epochs: list[tuple[float, float]]) -> None:
        """Note accuracy and cross-entropy of each epoch, and write the table."""
        self._curves[_key(values)] = [list(epoch) for epoch in epochs]
        table = {"settings": self._settings, "images": self.images, "curves": self._curves}
        text = json.dumps(table, indent=1) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, lambda aside: aside.write_text(text))


def _key(values: Values) -> str:
    return json.dumps(values, sort_keys=True)
