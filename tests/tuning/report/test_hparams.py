"""The HParams tab, read back with TensorBoard's own reader of event files."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.util.tensor_util import make_ndarray

from tuning.report.hparams import write_hparams
from tuning.space.search_space import Dimension
from tuning.trials.results import COMPLETED, FAILED, SEARCH, STOPPED, TrialResult

SPACE = (
    Dimension("width", "channels", choices=(16, 32)),
    Dimension("optimizer", "the optimizer", choices=("sgd", "adamw")),
    Dimension("dropout", "share dropped", 0.0, 0.5),
)
RESULTS = [
    TrialResult(
        "0000",
        SEARCH,
        COMPLETED,
        {"width": 16, "optimizer": "adamw", "dropout": 0.25},
        0,
        0.75,
        0.5,
        100,
        4,
        5,
    ),
    TrialResult("0001", SEARCH, STOPPED, {"width": 32, "optimizer": "sgd"}, 0, 0.5, 1.5, 9, 1, 2),
    TrialResult("0002", SEARCH, FAILED, {"width": 32}, 0),
]


def read(folder) -> tuple[dict, dict]:
    """Return what a folder holds for the plugin, by tag, and (step, value) of each metric."""
    events = EventAccumulator(str(folder)).Reload()
    plugin = {
        tag: metadata.parse_experiment_plugin_data
        if tag == metadata.EXPERIMENT_TAG
        else metadata.parse_session_start_info_plugin_data
        if tag == metadata.SESSION_START_INFO_TAG
        else metadata.parse_session_end_info_plugin_data
        for tag in events.PluginTagToContent(metadata.PLUGIN_NAME)
    }
    content = events.PluginTagToContent(metadata.PLUGIN_NAME)
    metrics = {
        tag: [(e.step, make_ndarray(e.tensor_proto).item()) for e in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
        if tag not in content
    }
    return {tag: parse(content[tag]) for tag, parse in plugin.items()}, metrics


def session(folder) -> tuple:
    plugin, metrics = read(folder)
    start = plugin[metadata.SESSION_START_INFO_TAG]
    values = {
        name: value.string_value if value.HasField("string_value") else value.number_value
        for name, value in start.hparams.items()
    }
    status = plugin[metadata.SESSION_END_INFO_TAG].status
    return start.group_name, values, status, metrics


def test_one_session_a_trial(tmp_path):
    write_hparams(RESULTS, tmp_path / "tensorboard", SPACE)
    folders = sorted(p.name for p in (tmp_path / "tensorboard").iterdir() if p.is_dir())
    assert folders == ["0000", "0001", "0002"]
    assert [session(tmp_path / "tensorboard" / name) for name in folders] == [
        (
            "0000",
            RESULTS[0].values,
            api_pb2.STATUS_SUCCESS,
            {"accuracy": [(4, 0.75)], "cross_entropy": [(4, 0.5)]},
        ),
        (
            "0001",
            RESULTS[1].values,
            api_pb2.STATUS_SUCCESS,
            {"accuracy": [(1, 0.5)], "cross_entropy": [(1, 1.5)]},
        ),
        ("0002", RESULTS[2].values, api_pb2.STATUS_FAILURE, {}),
    ]


def test_the_experiment_names_the_space_and_the_metrics(tmp_path):
    write_hparams(RESULTS[:1], tmp_path, SPACE)
    experiment = read(tmp_path)[0][metadata.EXPERIMENT_TAG]
    infos = {info.name: info for info in experiment.hparam_infos}
    assert list(infos) == ["width", "optimizer", "dropout"]
    assert [v.number_value for v in infos["width"].domain_discrete.values] == [16, 32]
    assert [v.string_value for v in infos["optimizer"].domain_discrete.values] == ["adamw", "sgd"]
    interval = infos["dropout"].domain_interval
    assert (interval.min_value, interval.max_value) == (0.0, 0.5)
    assert infos["dropout"].description == "share dropped"
    metrics = [info.name.tag for info in experiment.metric_infos]
    assert metrics == ["accuracy", "cross_entropy"]


@pytest.mark.parametrize("again", [RESULTS, RESULTS[1:]])
def test_a_second_call_takes_the_place_of_the_first(tmp_path, again):
    write_hparams(RESULTS, tmp_path / "tensorboard", SPACE)
    write_hparams(again, tmp_path / "tensorboard", SPACE)
    files = sorted(p.parent.name for p in (tmp_path / "tensorboard").rglob("events.*"))
    assert files == [*(result.trial for result in again), "tensorboard"]
