"""The entry points of training: a new run, or going on with one."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from pipeline.config.config import Config
from pipeline.data.folder import write_problems
from pipeline.data.prepare import PixelStatistics, PreparedData, pixel_statistics, prepare_data
from pipeline.data.splits import describe_splits
from pipeline.environment import describe_environment
from pipeline.errors import UserError
from pipeline.files import read_json, write_json, write_whole
from pipeline.models import resolve_stem
from pipeline.pretrained import Pretrained, assign_pretrained, read_pretrained
from pipeline.run_directory import RunDirectory
from pipeline.training import messages
from pipeline.training.callbacks import ShowProgress
from pipeline.training.checkpoint import Interrupted, NonFinite
from pipeline.training.devices import build_strategy, choose_precision, describe_devices
from pipeline.training.networks import build_deployed_network
from pipeline.training.run import TrainingRun
from pipeline.training.transfer import freeze

EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130


def train(config: Config, run_dir: Path, *, resume: bool = False) -> int:
    """Train in `run_dir`, from the start or from the newest checkpoint; return the exit code.

    Raises:
        UserError: the input is wrong, or another process trains there. No other run is touched.
    """
    directory = RunDirectory(run_dir)
    with directory.open():
        if not resume:
            directory.check_is_new()
        elif directory.metrics.exists():
            print(f"{run_dir} is finished already")
            messages.print_summary(run_dir, read_json(directory.metrics, ("test", "validation")))
            return EXIT_DONE
        try:
            with images_in_place():
                return _run(config, directory)
        except tf.errors.ResourceExhaustedError as error:
            raise UserError(
                "a step must fit in the devices' memory; received --batch-size "
                f"{config.fit.batch_size} and --width {config.model.width}"
            ) from error


@contextlib.contextmanager
def images_in_place() -> Iterator[None]:
    """Explain images that vanish meanwhile.

    Raises:
        UserError: in place of TensorFlow's own error.
    """
    try:
        yield
    except tf.errors.NotFoundError as error:
        reason = error.message.splitlines()[0]
        raise UserError(f"images must stay where they are while a run reads them; {reason}") from error


@dataclass(frozen=True)
class Ground:
    """What runs on the same images and devices share.

    Attributes:
        data: the images and their splits.
        statistics: of the pixels of train.
        strategy: of the devices.
    """

    data: PreparedData
    statistics: PixelStatistics
    strategy: tf.distribute.Strategy

    def resolve_input(self, config: Config) -> Config:
        """Put the size of the images, the width and the stem in place of what was left open."""
        size = self.data.image_size
        stem = resolve_stem(config.model, size)
        return config.with_own_width().with_values({"image_size": size, "stem": stem})


def prepare_ground(config: Config) -> Ground:
    """Find the devices, then load, check, split and measure the data.

    Raises:
        UserError: there are no such devices, or the data is missing, damaged or too small.
    """
    strategy = build_strategy(config.run.devices)
    # Before the data is read: the settings check themselves against the devices there are.
    resolve_devices(config, strategy)
    data = prepare_data(config)
    return Ground(data, pixel_statistics(data.examples("train")), strategy)


def resolve_devices(config: Config, strategy: tf.distribute.Strategy) -> tuple[Config, str]:
    """Put the devices and the precision in place of `auto`; return the reason for the latter.

    Raises:
        UserError: the batch does not divide by the devices, or float16 meets several.
    """
    precision, reason = choose_precision(config, strategy)
    devices = describe_devices(strategy)
    return config.with_values({"devices": devices, "precision": precision}), reason


def verify_start(config: Config, ground: Ground) -> None:
    """Hold the weights that a run starts from, and what it freezes, to its network.

    Raises:
        UserError: they cannot be read, or do not fit.
    """
    if not config.transfer.weights:
        return
    pretrained = read_pretrained(config.transfer.weights)
    statistics = PixelStatistics(pretrained.mean, pretrained.std)
    classes = len(ground.data.source.class_names)
    network = build_deployed_network(ground.resolve_input(config), classes, statistics)
    assign_pretrained(pretrained, network)
    freeze(network, config.transfer.freeze)


def open_run(config: Config, directory: RunDirectory, ground: Ground) -> TrainingRun:
    """Build the run of `config` in `directory`, at its newest checkpoint where there is one.

    Raises:
        UserError: the settings do not fit the devices, or the images are no longer those that
            the run began with.
    """
    # Names of variables count up within a process, and a checkpoint goes by names.
    keras.utils.clear_session()
    keras.utils.set_random_seed(config.run.seed)
    if config.run.deterministic:
        tf.config.experimental.enable_op_determinism()
    config, _ = resolve_devices(ground.resolve_input(config), ground.strategy)
    statistics, pretrained = ground.statistics, None
    if config.transfer.weights:
        pretrained = read_pretrained(config.transfer.weights)
        statistics = PixelStatistics(pretrained.mean, pretrained.std)
    run = TrainingRun(config, directory, ground.data, statistics, ground.strategy, pretrained)
    _record(config, directory, ground.data, pretrained)
    return run


def _run(config: Config, directory: RunDirectory) -> int:
    """Prepare everything, train from the newest checkpoint on, test; return the exit code."""
    ground = prepare_ground(config)
    run = open_run(config, directory, ground)
    _, reason = resolve_devices(config, ground.strategy)
    messages.print_plan(run, reason)
    try:
        run.draw_contact_sheet()
        fit_showing_progress(run)
        run.finish()
    except (Interrupted, KeyboardInterrupt):
        print(f"interrupted at step {run.progression.step:,}; to go on:")
        print(f"  {messages.resume_command(directory.path)}")
        return EXIT_INTERRUPTED
    except NonFinite as error:
        saved = run.checkpoints.saved()
        rate = float(run.schedule(run.progression.step))
        print(f"stopped: {error}, after {run.progression.step:,} steps, learning rate {rate:.4g}")
        print(f"last good checkpoint: {saved[-1] if saved else 'none yet'}")
        return EXIT_FAILED
    return EXIT_DONE


def fit_showing_progress(run: TrainingRun) -> None:
    """Train to the end, with a bar or lines; see `TrainingRun.fit`."""
    progress = ShowProgress(
        run.progression,
        epochs=run.config.total_epochs,
        total_steps=run.total_steps,
        examples_per_step=run.config.fit.batch_size,
        shorter=lambda seconds_left: messages.shorter_run(run.config, seconds_left),
    )
    with contextlib.closing(progress):
        run.fit([progress])


def _record(
    config: Config, directory: RunDirectory, data: PreparedData, pretrained: Pretrained | None
) -> None:
    """Write what the run is a function of; on resume, check that it still is.

    Raises:
        UserError: the images, labels or weights are no longer those the run began with.
    """
    splits = describe_splits(data.source, data.splits)
    weights = {}
    if pretrained:
        weights = {"origin": pretrained.origin, "fingerprint": pretrained.fingerprint}
    if directory.config.exists() and directory.splits.exists():
        if read_json(directory.splits) != splits:
            raise UserError(
                f"--resume needs the images that the run began with; {data.source.name} "
                f"no longer has the fingerprints in {directory.splits}"
            )
        if weights and weights["fingerprint"] != _recorded_fingerprint(directory):
            raise UserError(
                f"--resume needs the weights that the run began with; {config.transfer.weights} "
                f"no longer has the fingerprint in {directory.weights}"
            )
        return
    if data.source.problems:
        write_problems(data.source.problems, directory.problems)
    if weights:
        write_json(directory.weights, weights)
    write_json(directory.splits, splits)
    write_json(directory.environment, describe_environment())
    write_whole(directory.config, lambda aside: aside.write_text(config.to_json()))


def _recorded_fingerprint(directory: RunDirectory) -> str:
    return read_json(directory.weights, ("fingerprint",))["fingerprint"]
