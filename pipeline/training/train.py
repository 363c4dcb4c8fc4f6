"""The entry points of training: a new run, or going on with one."""

from pathlib import Path

import keras
import tensorflow as tf

from pipeline.config.config import Config
from pipeline.console.run_command import DONE, FAILED, INTERRUPTED
from pipeline.data.folders.folder import write_problems
from pipeline.data.splits import describe_splits
from pipeline.environment import describe_environment
from pipeline.errors import UserError
from pipeline.files.json_file import read_json, write_json
from pipeline.files.whole import write_text
from pipeline.hosts.hosts import Hosts
from pipeline.run_directory import METRICS, RunDirectory
from pipeline.training import messages
from pipeline.training.budget import plan_epochs
from pipeline.training.checkpoint_callbacks import Interrupted
from pipeline.training.host_files import lost_hosts_explained, share_files
from pipeline.training.resolve import Resolved, images_in_place, prepare_ground, resolve
from pipeline.training.run import TrainingRun, build_run, draw_contact_sheet, finish, fit_showing_progress
from pipeline.training.variables import NonFinite


def train(
    config: Config,
    run_dir: Path,
    *,
    resume: bool = False,
    deadline: float | None = None,
    hosts: Hosts | None = None,
) -> int:
    """Train in `run_dir`, from the start or from the newest checkpoint; return the exit code.

    Args:
        config: the settings.
        run_dir: where.
        resume: go on with the run that is there.
        deadline: the epochs are as many as end by then, by `time.monotonic`; None: those of `config`.
        hosts: that train together; each but the chief in a folder of its own. None: this one alone.

    Raises:
        HostLost: another host has ended, or is silent.
        UserError: the input is wrong, or another process trains there. No other run is touched.
    """
    hosts = hosts or Hosts()
    directory = RunDirectory(run_dir)
    with directory.open(), lost_hosts_explained(hosts):
        if resume:
            share_files(directory, hosts)
        if not resume:
            directory.check_is_new()
        elif directory.metrics.exists():
            metrics = read_json(directory.metrics, METRICS)
            print(f"{run_dir} is finished already")
            messages.print_summary(run_dir, metrics)
            print(f"  {directory.continue_command({'epochs': config.fit.epochs})}")
            return DONE
        try:
            with images_in_place():
                resolved = resolve(config, prepare_ground(config, hosts))
                if deadline is not None:
                    _settle_randomness(resolved)
                    resolved = plan_epochs(resolved, directory, deadline)
                run = open_run(resolved, directory)
                messages.print_plan(resolved, run.model, run.parameters, run.fresh)
                return _fit_and_finish(run)
        except NonFinite as error:
            # The probe's: that of a run is told with its last checkpoint.
            rate = config.fit.peak_learning_rate
            print(f"stopped while it was planned: {error}, --peak-learning-rate {rate:.4g}")
            return FAILED
        except tf.errors.ResourceExhaustedError as error:
            raise UserError(
                "a step must fit in the devices' memory; received --batch-size "
                f"{config.fit.batch_size} and --width {config.model.width}"
            ) from error


def open_run(resolved: Resolved, directory: RunDirectory) -> TrainingRun:
    """Build a run at its newest checkpoint where there is one, and record what it is a function of.

    Raises:
        UserError: the weights do not fit the network, or the images, weights or teacher are no longer
            those that the run began with.
    """
    # Names of variables count up within a process, and a checkpoint goes by names.
    keras.utils.clear_session()
    _settle_randomness(resolved)
    run = build_run(resolved, directory)
    _record(resolved, directory)
    return run


def _settle_randomness(resolved: Resolved) -> None:
    keras.utils.set_random_seed(resolved.config.run.seed)
    if resolved.config.run.deterministic:
        tf.config.experimental.enable_op_determinism()


def _record(resolved: Resolved, directory: RunDirectory) -> None:
    """Write what the run is a function of; on resume, check that it still is."""
    source, pretrained = resolved.ground.data.source, resolved.ground.pretrained
    teacher = resolved.ground.teacher
    splits = describe_splits(source, resolved.ground.data.splits)
    if directory.config.exists() and directory.splits.exists():
        if read_json(directory.splits) != splits:
            exclude = resolved.config.data.exclude
            without = f" without those of {exclude}" if exclude else ""
            raise UserError(
                f"--resume needs the images that the run began with; {source.name}{without} "
                f"no longer has the fingerprints in {directory.splits}"
            )
        if pretrained and pretrained.fingerprint != _recorded_fingerprint(directory.weights):
            raise UserError(
                "--resume needs the weights that the run began with; "
                f"{resolved.config.transfer.weights} no longer has the fingerprint in {directory.weights}"
            )
        if teacher and teacher.pretrained.fingerprint != _recorded_fingerprint(directory.teacher):
            raise UserError(
                "--resume needs the teacher that the run began with; "
                f"{teacher.name} no longer has the fingerprint in {directory.teacher}"
            )
        return
    if excluded := resolved.ground.data.excluded:
        write_text(directory.excluded, excluded.text)
    if source.problems:
        write_problems(source.problems, directory.problems)
    if pretrained:
        weights = {"origin": pretrained.origin, "fingerprint": pretrained.fingerprint}
        write_json(directory.weights, weights)
    if teacher:
        write_json(directory.teacher, teacher.describe())
    write_json(directory.splits, splits)
    write_json(directory.environment, describe_environment())
    write_text(directory.config, resolved.config.to_json())


def _recorded_fingerprint(path: Path) -> str:
    return read_json(path, {"fingerprint": str})["fingerprint"]


def _fit_and_finish(run: TrainingRun) -> int:
    """Train to the end and test; return the exit code, which says whether it came to that."""
    directory, progression = run.directory, run.progression
    try:
        draw_contact_sheet(run.resolved, directory.plots / "augmented_batch.png")
        fit_showing_progress(run)
        metrics = finish(run)
        if messages.still_improves(progression.history, metrics["validation"]["images"]):
            print(
                "\nstill improving: the last fifth of the epochs brought more than noise; to go on:\n"
                f"  {directory.continue_command({'epochs': run.resolved.config.fit.epochs})}"
            )
        messages.print_summary(directory.path, metrics)
    except (Interrupted, KeyboardInterrupt) as error:
        if isinstance(error, KeyboardInterrupt):
            # The other hosts wait for this one's part of a step.
            run.resolved.ground.hosts.fail("it was interrupted at once", INTERRUPTED)
        print(f"interrupted at step {progression.step:,}; to go on:")
        hosts = run.resolved.ground.hosts
        print(f"  {messages.resume_command(directory.path)}{' on every host' if hosts.count > 1 else ''}")
        return INTERRUPTED
    except NonFinite as error:
        saved = run.checkpoints.saved()
        # Of the last step that changed the weights: the one after an epoch may be zero.
        rate = float(run.schedule(max(progression.step - 1, 0)))
        print(f"stopped: {error}, after {progression.step:,} steps, learning rate {rate:.4g}")
        print(f"last good checkpoint: {saved[-1] if saved else 'none yet'}")
        return FAILED
    return DONE
