"""What a run says before it starts and after it is done."""

import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from pipeline.config.config import Config, per_replica_batch_size
from pipeline.config.option import flag
from pipeline.config.settings import AugmentConfig, ModelConfig
from pipeline.data.class_names import list_classes
from pipeline.data.exclusions import describe_excluded
from pipeline.data.image_size import median_side
from pipeline.data.splits import MIN_CALIBRATION
from pipeline.errors import printable
from pipeline.models.cost import count_parameters, multiply_adds
from pipeline.models.names import HEAD
from pipeline.pretrained import Pretrained
from pipeline.training.advice import advise
from pipeline.training.callbacks import LONG_RUN_SECONDS
from pipeline.training.resolve import Resolved
from pipeline.weights_settings import settings_of_weights

SHOWN_CLASSES = 5
"""How many classes of a head that is not taken are listed."""


def print_plan(resolved: Resolved, model: keras.Model, parameters: int, fresh: Sequence[str]) -> None:
    """Print what is about to be trained, on what, how.

    Args:
        resolved: the run.
        model: the network, in part frozen, or whole.
        parameters: of the whole network.
        fresh: names of the layers that do not begin with pretrained weights, if any do.
    """
    config, data, replicas = resolved.config, resolved.ground.data, resolved.replicas
    split_sizes = ", ".join(f"{name} {len(rows):,}" for name, rows in vars(data.splits).items())
    batch, size = config.fit.batch_size, data.image_size
    macs = sum(multiply_adds(model).values())
    rows = {
        "data": f"{data.source.name}, {resolved.classes} classes, {size} x {size} px",
        "classes": list_classes(data.source.class_names, data.labels),
        "splits": split_sizes,
        **({"excluded": describe_excluded(data.excluded, data.source)} if data.excluded else {}),
        "model": f"{_network(config.model)}, {parameters:,} parameters, {macs:,} multiply-adds",
        **_transfer(resolved, parameters, count_parameters(model), fresh),
        **_teacher(resolved, macs),
        "augment": _augmentations(config),
        "optimizer": f"{config.fit.optimizer}, {config.fit.schedule} schedule, peak learning rate "
        f"{config.fit.peak_learning_rate:g}" + _rate_of_kernels(config),
        "precision": f"{config.run.precision} ({resolved.precision_reason})",
        "devices": _devices(resolved),
        "batch": f"{batch} in all, {per_replica_batch_size(batch, replicas)} a replica",
        "steps": f"{config.total_epochs} epochs x {resolved.steps_per_epoch:,} steps = "
        f"{resolved.total_steps:,}",
    }
    if (few := len(data.splits.calibration)) < MIN_CALIBRATION:
        more = "raise --calibration-size" if few == config.data.calibration_size else "add images"
        rows["int8"] = (
            f"calibration has {few} of the {MIN_CALIBRATION} images that it needs: {more}, or an export to "
            "int8 has to take others of train"
        )
    if advice := advise(config, train_images=len(data.splits.train), own_side=median_side(data.source)):
        rows["advice"] = advice
    if data.source.problems:
        rows["left out"] = f"{len(data.source.problems):,} files, listed in data_problems.csv"
    for name, text in rows.items():
        print(f"{name:>10}  {printable(text)}")
    sys.stdout.flush()


def _devices(resolved: Resolved) -> str:
    hosts = resolved.ground.hosts.count
    replicas = f"{resolved.replicas} replica{'s' if resolved.replicas > 1 else ''}"
    return f"{resolved.config.run.devices} ({replicas}{f' on {hosts} hosts' if hosts > 1 else ''})"


def _transfer(resolved: Resolved, parameters: int, trained: int, fresh: Sequence[str]) -> dict[str, str]:
    """Say what the run starts from, and what of it trains when."""
    fit, transfer, rows = resolved.config.fit, resolved.config.transfer, {}
    if pretrained := resolved.ground.pretrained:
        rows["weights"] = pretrained.origin
        rows.update(_settings(resolved.config))
        rows["normalised"] = f"as they want it: {_normalisation(pretrained)}"
        rows["head"] = _head(pretrained, fresh)
    if transfer.linear_head:
        rows["head"] = "fitted to their features by logistic regression, then trained on"
    if transfer.freeze != "none":
        up_to = "all but the head" if transfer.freeze == "backbone" else f"up to {transfer.freeze}"
        epochs = f" for {fit.epochs} epochs" if transfer.finetune_epochs else ""
        rows["frozen"] = up_to + epochs
        if trained < parameters:
            # A run resumed after the thaw has them all train already.
            rows["frozen"] += f", {trained:,} parameters train"
    if transfer.finetune_epochs:
        rows["fine-tune"] = (
            f"then {transfer.finetune_epochs} epochs of all, peak learning rate "
            f"{fit.peak_learning_rate * transfer.finetune_rate:g}"
        )
    if transfer.stage_rate_decay < 1:
        rows["rates"] = f"each part learns at {transfer.stage_rate_decay:g} of the next one's rate"
    return rows


def _teacher(resolved: Resolved, macs: int) -> dict[str, str]:
    """Say whose answers the network learns from, and what they cost.

    Args:
        resolved: the run.
        macs: multiply-adds of the network.
    """
    teacher, transfer = resolved.ground.teacher, resolved.config.transfer
    if not teacher:
        return {}
    text = (
        f"{teacher.name}, {_network(teacher.config.model)}, validation accuracy {teacher.accuracy:.2%}; "
        f"{transfer.teacher_share:g} of the loss at temperature {transfer.temperature:g}; "
        f"{teacher.share_of_step(macs):.0%} of a step's multiply-adds, in {transfer.teacher_precision}"
    )
    if not teacher.compared:
        text += "; its images are not at hand to be compared with validation and test"
    return {"teacher": text}


def _settings(config: Config) -> dict[str, str]:
    """Say in which settings the run follows the weights, and in which not, where they tell theirs."""
    theirs, ours = settings_of_weights(config.transfer.weights, config.model.model), config.values()
    same = [f"{flag(name)} {value}" for name, value in theirs.items() if ours[name] == value != "auto"]
    others = [
        f"{flag(name)} {ours[name]}, theirs {theirs[name]}" for name in theirs if ours[name] != theirs[name]
    ]
    rows = {"as theirs": ", ".join(same), "unlike": ", ".join(others)}
    return {name: text for name, text in rows.items() if text}


def _normalisation(pretrained: Pretrained) -> str:
    mean, std = (", ".join(f"{v:.1f}" for v in values) for values in (pretrained.mean, pretrained.std))
    return f"mean {mean}, deviation {std}"


def _head(pretrained: Pretrained, fresh: Sequence[str]) -> str:
    """Say whether the head is theirs, and for which classes it was."""
    if HEAD not in pretrained.layers:
        return "fresh, as they have none"
    names, classes = pretrained.class_names, pretrained.layers[HEAD][0].shape[-1]
    if names is None:
        what = f"{classes:,} classes that they do not name"
        return f"fresh, as theirs is for {what}" if fresh else f"theirs, for {what}"
    listed = ", ".join(names[:SHOWN_CLASSES]) + (", ..." if len(names) > SHOWN_CLASSES else "")
    return f"fresh, as theirs is for other classes: {listed}" if fresh else "theirs, for the same classes"


def _network(model: ModelConfig) -> str:
    stem = "" if model.stem == "auto" else f", {model.stem} stem"
    return f"{model.model}, width {model.width}{stem}"


def _rate_of_kernels(config: Config) -> str:
    return f", of kernels {config.fit.muon_rate:g}" if config.fit.optimizer == "muon" else ""


def _augmentations(config: Config) -> str:
    """List the augmentation settings that are not at their defaults."""
    default = AugmentConfig()
    changed = {name: value for name, value in vars(config.augment).items() if value != getattr(default, name)}
    return ", ".join(f"{name} {value}" for name, value in changed.items()) or "none"


def shorter_run(config: Config, seconds_left: float) -> str:
    """Name the flag or preset that would bring a run under an hour."""
    share = 0.9 * LONG_RUN_SECONDS / seconds_left
    epochs, finetune_epochs = config.fit.epochs, config.transfer.finetune_epochs
    if int(epochs * share) >= 1:
        flags = f"--epochs {int(epochs * share)}"
        if finetune_epochs:
            flags += f" --finetune-epochs {max(int(finetune_epochs * share), 1)}"
        return f"{flags} would fit in an hour{_smaller(config)}"
    return f"not even one epoch fits in an hour{_smaller(config)}"


def _smaller(config: Config) -> str:
    if config.model.architecture.width <= 16 or config.transfer.weights:
        return ""
    if config.data.data == "cifar10":
        return "; smaller: the presets cifar10_10min and cifar10_1h (width 16)"
    share = (config.model.architecture.width / 16) ** 2
    return f"; smaller: --width 16 needs about 1/{share:.0f} of the multiply-adds"


def resume_command(run_dir: Path) -> str:
    """Return the line that goes on with a run."""
    return f"python train.py --resume --run-dir {shlex.quote(str(run_dir))}"


def still_improves(history: Sequence[dict[str, float]], images: int) -> bool:
    """Whether a run ended while validation still got better.

    It did where the best accuracy p of the last fifth of its epochs is above the best of those before by
    more than its standard error, sqrt(p (1 - p) / images). A run of fewer than 5 epochs does not tell.

    Args:
        history: a row an epoch.
        images: in validation.
    """
    last = len(history) // 5
    if not last:
        return False
    accuracies = [row["val_accuracy"] for row in history]
    before, after = max(accuracies[:-last]), max(accuracies[-last:])
    return after - before > math.sqrt(after * (1 - after) / images)


def print_summary(run_dir: Path, metrics: dict[str, Any]) -> None:
    """Print the result, where everything lies and what comes next."""
    test, validation = metrics["test"], metrics["validation"]
    best = (
        f"best epoch {validation['best_epoch']}" if validation["best_epoch"] else "by the linear head alone"
    )
    print(
        f"\ntest accuracy {test['accuracy']:.2%} on {test['images']:,} images "
        f"(validation {validation['accuracy']:.2%}, {best})"
    )
    print(f"everything lies in {run_dir}: model.keras, metrics.json, history.csv, plots/")
    print("next:")
    print(f"  tensorboard --logdir {shlex.quote(str(run_dir / 'tensorboard'))}")
    print(f"  python train.py --config {shlex.quote(str(run_dir / 'config.json'))} --seed 1")
