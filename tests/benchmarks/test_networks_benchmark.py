"""The benchmark of the family: its figures, which networks it shows, and that it runs."""

import json

import pytest

from benchmarks import networks
from benchmarks.networks import Cost, networks_for, print_networks, write_int8
from pipeline.config.architectures import ARCHITECTURES
from pipeline.tflite.file import TFLiteFile


def test_small_images_show_all_networks_and_large_ones_those_with_four_stages():
    from_32 = {"efficientnet_lite0", "mobilenetv2", "vgg16", "densenet121"}
    assert networks_for(32) == list(ARCHITECTURES)
    assert networks_for(31) == [name for name in ARCHITECTURES if name not in from_32]
    assert networks_for(96) == [
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnet18d",
        "resnet50d",
        "resnext50",
        "preresnet18",
        "plain18",
        "efficientnet_lite0",
        "mobilenetv2",
        "vgg16",
        "densenet121",
    ]


def test_a_network_costs_what_its_layers_do(tmp_path):
    """McMahan et al. 2017's convolutional network, with colours and 16 px, by hand."""
    file = tmp_path / "network.tflite"
    cost = write_int8(file, "convnet", 16, 7)
    first, second, hidden, head = 5 * 5 * 3 * 32, 5 * 5 * 32 * 64, 4 * 4 * 64 * 512, 512 * 7
    assert (cost.width, cost.stem) == (32, "auto")
    assert cost.parameters == first + second + hidden + head + 32 + 64 + 512 + 7
    # Both convolutions keep the size; a pool halves it after each.
    assert cost.multiply_adds == 16 * 16 * first + 8 * 8 * second + hidden + head
    int8 = TFLiteFile(file.read_bytes())
    assert cost.int8_bytes == int8.size
    graph = int8.graph
    assert (graph.input.shape, graph.output.shape) == ((1, 16, 16, 3), (1, 7))
    assert graph.output.dtype == "int8"


def test_a_line_tells_the_network_and_the_spread_of_its_latency(capsys):
    cost = Cost(width=16, stem="cifar", parameters=12_345, multiply_adds=6_789_000, int8_bytes=3072)
    print_networks({"resnet8": cost}, {"resnet8": [4.0, 1.5, 2.25]})
    header, line = capsys.readouterr().out.splitlines()
    assert header.split("  ")[0] == "network"
    assert line.split() == (
        ["resnet8", "16", "12,345", "6.8", "M", "3", "KiB", "2.25", "ms", "(1.5", "-", "4)"]
    )


def test_the_last_line_tells_all_figures(run_here):
    settings = "--models mlp convnet --image-size 16 --rounds 3 --seconds 0.001"
    code, printed, _ = run_here(networks, settings)
    assert code == 0
    *table, last = printed.splitlines()
    assert [line.split()[0] for line in table[-2:]] == ["mlp", "convnet"]
    told = json.loads(last)
    assert set(told) == {"benchmark", "settings", "networks", "environment", "finished"}
    assert told["settings"] == {
        "batch_size": 1,
        "threads": 1,
        "image_size": 16,
        "classes": 10,
        "rounds": 3,
        "seconds": 0.001,
        "models": ["mlp", "convnet"],
    }
    assert "ai-edge-litert" in told["environment"]["packages"]
    assert told["environment"]["load_before"] >= 0
    for figures in told["networks"].values():
        latency = figures["int8_latency_ms"]
        assert 0 < latency["minimum"] <= latency["median"] <= latency["maximum"]
        assert len(latency["rounds"]) == 3


def test_latency_is_the_rates_inverse_in_ms(run_here, monkeypatch):
    monkeypatch.setattr(networks, "write_int8", lambda *_: Cost(64, "auto", 1, 1, 1))
    rates = {"mlp": [500.0, 250.0, 2000.0]}
    _, printed, _ = run_here(networks, "--models mlp", lambda *_: rates)
    latency = json.loads(printed.splitlines()[-1])["networks"]["mlp"]["int8_latency_ms"]
    assert latency == {"median": 2.0, "minimum": 0.5, "maximum": 4.0, "rounds": [2.0, 4.0, 0.5]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--models resnet9", "unknown --model 'resnet9'; did you mean 'resnet8'"),
        ("--models resnet18 --image-size 4", "at least 8 x 8 pixels; received 4 x 4"),
    ],
)
def test_wrong_input_is_refused_in_one_line(arguments, message, run_here):
    code, _, error = run_here(networks, arguments)
    assert code == 2
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
