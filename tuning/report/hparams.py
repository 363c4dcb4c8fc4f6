"""The trials for the HParams tab of TensorBoard."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from tensorboard.plugins.hparams import api, api_pb2
from tensorboard.plugins.hparams.summary import session_end_pb

from tuning.space.search_space import Dimension, Space
from tuning.trials.results import FAILED, TrialResult

METRICS = ("accuracy", "cross_entropy")


def write_hparams(results: Sequence[TrialResult], folder: Path, space: Space) -> None:
    """Write one session a trial, with its hyperparameters, final metrics and status.

    TensorBoard adds up whatever event files a folder holds, so that `folder` is emptied first.

    Args:
        results: of search and confirmation.
        folder: where to, one sub-folder a trial; of nothing else.
        space: the hyperparameters.
    """
    if folder.exists():
        shutil.rmtree(folder)
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default():
        api.hparams_config(
            hparams=[_parameter(dimension) for dimension in space],
            metrics=[api.Metric(name, display_name=f"validation {name}") for name in METRICS],
        )
    writer.close()
    for result in results:
        _write_session(result, folder / result.trial)


def _parameter(dimension: Dimension) -> api.HParam:
    if dimension.choices:
        domain = api.Discrete(dimension.choices)
    else:
        domain = api.RealInterval(float(dimension.low), float(dimension.high))
    return api.HParam(dimension.name, domain, description=dimension.meaning)


def _write_session(result: TrialResult, folder: Path) -> None:
    failed = result.status == FAILED
    status = api_pb2.STATUS_FAILURE if failed else api_pb2.STATUS_SUCCESS
    end = session_end_pb(status).SerializeToString()
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default():
        api.hparams(result.values, trial_id=result.trial)
        if not failed:
            for name in METRICS:
                tf.summary.scalar(name, getattr(result, name), step=result.best_epoch)
        tf.summary.experimental.write_raw_pb(end, step=0)
    writer.close()
