"""Which hosts there are, from flags, TF_CONFIG and Slurm's variables."""

import json

import pytest

from pipeline.config.host_addresses import Addresses, find_addresses, spread_devices
from pipeline.errors import UserError

VARIABLES = ("TF_CONFIG", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NODELIST", "SLURMD_NODENAME")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for name in (*VARIABLES, "SLURM_STEP_TASKS_PER_NODE"):
        monkeypatch.delenv(name, raising=False)


def test_flags_name_the_hosts():
    assert find_addresses("a:1, [::1]:65535", 1) == Addresses(("a:1", "[::1]:65535"), 1)
    assert find_addresses(None, None) is None
    # One is no cluster, whatever started it.
    assert find_addresses("a:1", 0) is None


@pytest.mark.parametrize(
    ("hosts", "index", "rule"),
    [
        (
            "a:1,b",
            0,
            "--hosts must be NAME:PORT of each host, with commas between them, or slurm; received 'b'",
        ),
        ("a:1,b:65536", 0, "--hosts must be NAME:PORT .*; received 'b:65536'"),
        ("a:1,:2", 0, "--hosts must be NAME:PORT .*; received ':2'"),
        ("a:1,a:1", 0, "--hosts must name each host once; received a:1 twice"),
        ("a:1,b:1", 2, "--host-index must be the place of this host among the 2, from 0; received 2"),
        ("a:1,b:1", None, "--hosts needs --host-index, .*; received none"),
        (None, 1, "--host-index needs --hosts; received --host-index 1"),
        ("slurm", 1, "--hosts slurm knows the index; received --host-index 1"),
        ("slurm", None, "--hosts slurm must be started by srun; received no SLURM_PROCID"),
    ],
)
def test_what_names_no_hosts_is_refused(hosts, index, rule):
    with pytest.raises(UserError, match=rule):
        find_addresses(hosts, index)


def tf_config(task: object, **cluster: object) -> str:
    return json.dumps({"cluster": cluster, "task": task})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (tf_config({"type": "worker", "index": 1}, worker=["a:1", "b:1"]), Addresses(("a:1", "b:1"), 1)),
        (
            tf_config({"type": "chief", "index": 0}, chief=["a:1"], worker=["b:1"]),
            Addresses(("a:1", "b:1"), 0),
        ),
        (
            tf_config({"type": "worker", "index": 0}, chief=["a:1"], worker=["b:1"]),
            Addresses(("a:1", "b:1"), 1),
        ),
        (tf_config({"type": "worker", "index": 0}, worker=["a:1"]), None),
        ("{}", None),
    ],
)
def test_tf_config_names_the_hosts(monkeypatch, text, expected):
    monkeypatch.setenv("TF_CONFIG", text)
    assert find_addresses(None, None) == expected
    assert find_addresses("c:1,d:1", 0) == Addresses(("c:1", "d:1"), 0)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("a:1,b:1", "TF_CONFIG must be .*; received 'a:1,b:1'"),
        (tf_config("worker", worker=["a:1", "b:1"]), "TF_CONFIG must be"),
        (tf_config({"type": "worker"}, worker=[1, 2]), "TF_CONFIG must be"),
        (tf_config({"type": "ps"}, worker=["a:1"], ps=["b:1", "c:1"], chief=["d:1"]), "received the jobs ps"),
        (tf_config({"type": "evaluator"}, worker=["a:1", "b:1"]), "received a task of type 'evaluator'"),
    ],
)
def test_a_tf_config_that_is_no_cluster_of_workers_is_refused(monkeypatch, text, rule):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError, match=rule):
        find_addresses(None, None)


def slurm(monkeypatch, rank: int, **others: str) -> None:
    for name, value in {
        "SLURM_PROCID": str(rank),
        "SLURM_STEP_NUM_TASKS": "3",
        "SLURM_STEP_NODELIST": "n[07-08]",
        "SLURM_STEP_TASKS_PER_NODE": "2,1",
        **others,
    }.items():
        monkeypatch.setenv(name, value)


def test_slurm_names_the_hosts_of_a_step(monkeypatch):
    for rank, node in enumerate(("n07", "n07", "n08")):
        slurm(monkeypatch, rank, SLURMD_NODENAME=node)
        expected = Addresses(("n07:8888", "n07:8889", "n08:8888"), rank)
        assert find_addresses("slurm", None) == expected


@pytest.mark.parametrize(
    ("others", "rule"),
    [
        # As text, n10 sorts before n9.
        (
            {"SLURM_STEP_NODELIST": "n[9-10]", "SLURMD_NODENAME": "n9"},
            "--hosts slurm needs nodes whose names sort as Slurm numbers them; task 0 is on n9, not on n10",
        ),
        ({"SLURM_STEP_NUM_TASKS": "4"}, "Slurm's variables must describe a step of srun; Requested 4 tasks"),
        ({"SLURM_STEP_NODELIST": "n[1-"}, "Slurm's variables must describe a step of srun; Invalid hostlist"),
        (
            {"SLURM_STEP_TASKS_PER_NODE": "two"},
            "Slurm's variables must describe a step of srun; Invalid tasks",
        ),
    ],
)
def test_slurm_variables_that_make_no_sense_are_refused(monkeypatch, others, rule):
    slurm(monkeypatch, 0, **others)
    with pytest.raises(UserError, match=rule):
        find_addresses("slurm", None)


@pytest.mark.parametrize(
    ("before", "hosts", "after"),
    [("cpu:2", 3, "cpu:3"), ("cpu:1", 2, "cpu:2"), ("gpu:8", 4, "gpu:8"), ("gpu:8", 3, "auto")],
)
def test_a_run_goes_on_on_as_many_devices_as_the_hosts_can_share(before, hosts, after):
    assert spread_devices(before, hosts) == after
