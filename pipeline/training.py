"""The entry points of training: a new run, or going on with one."""

import json
from pathlib import Path

import keras
import tensorflow as tf

from pipeline import plan
from pipeline.checkpoint import Interrupted, NonFinite
from pipeline.config import Config
from pipeline.data.folder import write_problems
from pipeline.data.prepare import PreparedData, pixel_statistics, prepare_data
from pipeline.data.splits import describe_splits
from pipeline.distribution import build_strategy, choose_precision, describe_devices
from pipeline.errors import UserError
from pipeline.models import resolve_stem
from pipeline.run_directory import RunDirectory, write_whole
from pipeline.training_run import TrainingRun

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
            plan.print_summary(run_dir, json.loads(directory.metrics.read_text()))
            return EXIT_DONE
        try:
            return _run(config, directory)
        except tf.errors.ResourceExhaustedError as error:
            raise UserError(
                "a step must fit in the devices' memory; received --batch-size "
                f"{config.fit.batch_size} and --width {config.model.width}"
            ) from error
        except tf.errors.NotFoundError as error:
            reason = error.message.splitlines()[0]
            raise UserError(
                f"pictures must stay where they are while a run reads them; {reason}"
            ) from error


def _run(config: Config, directory: RunDirectory) -> int:
    """Prepare everything, train from the newest checkpoint on, test; return the exit code."""
    # Names of variables count up within a process, and a checkpoint goes by names.
    keras.utils.clear_session()
    keras.utils.set_random_seed(config.run.seed)
    if config.run.deterministic:
        tf.config.experimental.enable_op_determinism()
    strategy = build_strategy(config.run.devices)
    precision, reason = choose_precision(config, strategy)
    # Before the data is read: the settings check themselves against the devices there are.
    config = config.with_values({"devices": describe_devices(strategy), "precision": precision})
    data = prepare_data(config)
    stem = resolve_stem(config.model.stem, data.image_size)
    config = config.with_values({"image_size": data.image_size, "stem": stem})
    statistics = pixel_statistics(data.examples("train"))
    run = TrainingRun(config, directory, data, statistics, strategy)
    _record(config, directory, data)
    plan.print_plan(config, data, run.model, strategy.num_replicas_in_sync, reason)
    try:
        run.draw_contact_sheet()
        run.fit()
        run.finish()
    except (Interrupted, KeyboardInterrupt):
        print(f"interrupted at step {run.progression.step:,}; to go on:")
        print(f"  {plan.resume_command(directory.path)}")
        return EXIT_INTERRUPTED
    except NonFinite as error:
        saved = run.checkpoints.saved()
        rate = float(run.schedule(run.progression.step))
        print(f"stopped: {error}, after {run.progression.step:,} steps, learning rate {rate:.4g}")
        print(f"last good checkpoint: {saved[-1] if saved else 'none yet'}")
        return EXIT_FAILED
    return EXIT_DONE


def _record(config: Config, directory: RunDirectory, data: PreparedData) -> None:
    """Write what the run is a function of; on resume, check that it still is.

    Raises:
        UserError: the pictures or labels are no longer those the run began with.
    """
    splits = describe_splits(data.source, data.splits)
    if directory.config.exists() and directory.splits.exists():
        if json.loads(directory.splits.read_text()) != splits:
            raise UserError(
                f"--resume needs the pictures that the run began with; {data.source.name} "
                f"no longer has the fingerprints in {directory.splits}"
            )
        return
    if data.source.problems:
        write_problems(data.source.problems, directory.problems)
    directory.write_json(directory.splits, splits)
    directory.write_json(directory.environment, plan.describe_environment())
    write_whole(directory.config, lambda aside: aside.write_text(config.to_json()))
