"""The benchmarks: their arithmetic, that peers do the same work, and that each runs to its end."""

import itertools
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import input_pipeline, large_images, measure, training_step
from benchmarks.measure import Comparison, Spread, fastest, measure_in_turns, ratios, report
from tests.benchmarks.conftest import take_turns_here
from tests.commands import ROOT

needs_torch = pytest.mark.skipif(not measure.find_spec("torch"), reason="PyTorch is the peer")


def test_spread():
    assert Spread.of([3.0, 1.0, 10.0]) == Spread(median=3.0, minimum=1.0, maximum=10.0)


def test_ratios_are_taken_within_a_round():
    # The load doubles in the second round: the ratio stays 2, where one of medians would not.
    rates, peer = [8.0, 4.0, 40.0], [4.0, 2.0, 1.0]
    assert ratios(rates, peer) == [2.0, 2.0, 40.0]
    assert Spread.of(ratios(rates, peer)).median == 2.0


def test_fastest_goes_by_the_median():
    rates = {"a": [1.0, 2.0, 99.0], "b": [3.0, 3.0, 3.0], "c": [9.0, 9.0, 9.0]}
    assert fastest(rates, ["a", "b"]) == "b"


@pytest.mark.parametrize(
    ("values", "upper", "passes"),
    [
        ([9.0, 5.0, 1.0], False, True),
        ([9.0, 4.9, 1.0], False, False),
        ([9.0, 5.0, 1.0], True, True),
        ([9.0, 5.1, 1.0], True, False),
        ([math.nan], False, False),
        ([math.nan], True, False),
    ],
)
def test_a_bar_is_cleared_by_the_median(values, upper, passes):
    assert Comparison("a / b", values, bar=5.0, upper=upper).passes is passes


def write_name(log, name):
    """Build a contender that measures its own process, and says so in a file."""

    def measure_once():
        with log.open("a") as file:
            file.write(name)
        return float(os.getpid())

    return measure_once


def test_contenders_take_turns_in_processes_of_their_own(tmp_path):
    log = tmp_path / "turns"
    rates = measure_in_turns({name: (write_name, (log, name)) for name in "ab"}, rounds=3)
    assert log.read_text() == "ababab"
    processes = {name: set(pids) for name, pids in rates.items()}
    assert all(len(pids) == 1 for pids in processes.values())
    assert len({os.getpid()} | processes["a"] | processes["b"]) == 3
    assert [len(pids) for pids in rates.values()] == [3, 3]


def test_report_tells_all_in_its_last_line(capsys):
    rates = {"a": [4.0, 6.0], "b": [2.0, 2.0]}
    comparisons = [Comparison("a / b", ratios(*rates.values()), bar=3.0)]
    report("speed", {"batch_size": 2}, rates, comparisons, load_before=0.5)
    *table, last = capsys.readouterr().out.splitlines()
    told = json.loads(last)
    assert told["benchmark"] == "speed"
    assert told["settings"] == {"batch_size": 2}
    assert told["images_per_second"]["a"] == {
        "median": 5.0,
        "minimum": 4.0,
        "maximum": 6.0,
        "rounds": [4.0, 6.0],
    }
    (comparison,) = told["comparisons"]
    assert comparison["values"] == [2.0, 3.0]
    assert (comparison["median"], comparison["bar"], comparison["passes"]) == (2.5, 3.0, False)
    assert told["environment"]["load_before"] == 0.5
    assert {"tensorflow", "keras", "numpy"} <= set(told["environment"]["packages"])
    assert any("bar at least 3: fall short" in line for line in table)


def test_a_busy_machine_is_told(capsys):
    for load, busy in ((0.2 * measure.CORES, False), (0.6 * measure.CORES, True)):
        report("speed", {}, {"a": [1.0]}, [], load_before=load)
        assert ("busy" in capsys.readouterr().out) is busy


def test_without_torch_its_part_is_left_out(monkeypatch, capsys):
    monkeypatch.setattr(measure, "find_spec", lambda name: None)
    assert not measure.has_torch()
    assert "PyTorch is not installed" in capsys.readouterr().out


def random_image():
    """One image without mid grey, so that a grey pixel was cut out."""
    return np.random.default_rng(0).integers(0, 128, (32, 32, 3), np.uint8)


def crops(image, mode):
    """All (down, right, mirrored) -> 32 x 32 crops of an image padded by 4."""
    padded = np.pad(image, [(4, 4), (4, 4), (0, 0)], mode)
    for y, x in itertools.product(range(9), range(9)):
        crop = padded[y : y + 32, x : x + 32]
        yield (y, x, False), crop
        yield (y, x, True), crop[:, ::-1]


# Keras' translation repeats the border's own pixels, NumPy's "symmetric".
@pytest.mark.parametrize(
    ("variant", "mode"), [("image", "reflect"), ("translation", "symmetric"), ("batch", "reflect")]
)
def test_keras_layers_do_the_work(variant, mode):
    from benchmarks.keras_batches import keras_batches

    original = random_image()
    batches = keras_batches(
        np.stack([original] * 64), np.arange(64), variant=variant, batch_size=64, padding=4, cutout=8
    )
    images, _ = next(batches.as_numpy_iterator())
    expected = list(crops(original, mode))
    drawn = []
    for image in images:
        seen = image != 128
        assert (~seen).sum() == 8 * 8 * 3
        drawn += [draw for draw, crop in expected if np.array_equal(image[seen], crop[seen])]
    assert len(drawn) == 64
    # 64 draws of 81 crops take 44 different ones on average; one a batch takes one.
    places = len({(y, x) for y, x, _ in drawn})
    assert places == 1 if variant == "batch" else places > 20
    assert len({mirrored for *_, mirrored in drawn}) == 2


@needs_torch
def test_torch_crops_and_flips_like_numpy():
    import torch

    from benchmarks.torch_batches import crop_and_flip

    image = random_image()
    images = np.stack([image[::-1], image])
    draws, expected = zip(*crops(image, "reflect"), strict=True)
    y, x, mirrored = (torch.tensor(values) for values in zip(*draws, strict=True))
    rows = torch.ones(len(draws), dtype=torch.int64)
    varied = crop_and_flip(torch.tensor(images), rows, torch.stack([y, x]) - 4, mirrored)
    np.testing.assert_array_equal(varied, np.stack(expected))


@needs_torch
def test_torch_cuts_squares_clipped_at_the_border():
    import torch

    from benchmarks.torch_batches import cut_out

    centres = np.array([[0, 16, 31], [5, 31, 0]])
    expected = np.stack([random_image()] * 3)
    images = torch.tensor(expected)
    for image, y, x in zip(expected, *centres, strict=True):
        image[max(y - 4, 0) : y + 4, max(x - 4, 0) : x + 4] = 128
    np.testing.assert_array_equal(cut_out(images, torch.tensor(centres), 8), expected)


@needs_torch
def test_torch_shuffles_without_repeating_in_an_epoch():
    import torch

    from benchmarks.torch_batches import AugmentedBatches

    torch.manual_seed(0)
    images, labels = torch.zeros(70, 32, 32, 3, dtype=torch.uint8), torch.arange(70)
    batches = AugmentedBatches(images, labels, batch_size=32, padding=4, cutout=8)
    first, second = itertools.islice(batches, 2)
    assert len(set(first[1].tolist()) | set(second[1].tolist())) == 64
    assert first[0].shape == (32, 32, 32, 3)


def test_blocks_of_the_loop_hold_its_callbacks_and_none_of_the_memory(monkeypatch):
    from benchmarks import training_loop

    now = 0.0

    class Model:
        def make_train_function(self):
            self.train_function = step

    def step(batches):
        nonlocal now
        # The first steps trace for a minute; after that the loop's wait for input.
        now += 60.0 if now < 100.0 else 3.0 if batches == "loop" else 2.0

    monkeypatch.setattr(training_loop.time, "perf_counter", lambda: now)
    monkeypatch.setattr(training_loop, "in_memory", lambda batch: "memory")
    model = Model()
    alternation = training_loop.Alternation(model, None, steps=4)
    for _ in range(1 + 2 * 4):
        model.train_function("loop")
        now += 0.5  # the callbacks
    assert alternation.seconds == {"loop": [4 * 3.5] * 2, "memory": [4 * 2.0] * 2}


KEYS = {"benchmark", "settings", "images_per_second", "comparisons", "environment", "finished"}


def test_input_pipeline_runs(run_here, monkeypatch):
    import keras

    monkeypatch.setattr(input_pipeline, "IMAGES", 1000)
    monkeypatch.setattr(input_pipeline, "BUFFERED_BATCHES", 1)

    def take_turns(contenders, rounds):
        # A loader forks, which TensorFlow's threads may not outlive.
        apart = {name: given for name, given in contenders.items() if "workers" in name}
        here = {name: given for name, given in contenders.items() if name not in apart}
        return take_turns_here(here, rounds) | measure_in_turns(apart, rounds)

    # Ours turns determinism on, which asks for a seed wherever its process draws.
    keras.utils.set_random_seed(0)
    code, printed, _ = run_here(input_pipeline, "--rounds 1 --seconds 0.05", take_turns)
    assert code == 0
    assert "images a second" in printed
    told = json.loads(printed.splitlines()[-1])
    assert set(told) == KEYS
    assert told["benchmark"] == "input_pipeline"
    peers = {name.split(",")[0] for name in told["images_per_second"]}
    assert {"ours", "Keras"} <= peers
    assert ("PyTorch" in peers) is bool(measure.find_spec("torch"))
    assert all(min(rate["rounds"]) > 0 for rate in told["images_per_second"].values())
    bars = {c["name"].removeprefix("ours / ").split(",")[0]: c["bar"] for c in told["comparisons"]}
    assert bars["Keras"] == 5


def test_large_images_runs(run_here, monkeypatch):
    import keras

    for name, few in {"IMAGES": 8, "BATCH_SIZE": 2, "BUFFERED_BATCHES": 1}.items():
        monkeypatch.setattr(large_images, name, few)

    def take_turns(contenders, rounds):
        # A loader forks, which TensorFlow's threads may not outlive.
        loaders = {name: given for name, given in contenders.items() if name == "PyTorch"}
        here = {name: given for name, given in contenders.items() if name not in loaders}
        return take_turns_here(here, rounds) | measure_in_turns(loaders, rounds)

    # Ours turns determinism on, which asks for a seed wherever its process draws.
    keras.utils.set_random_seed(0)
    code, printed, _ = run_here(large_images, "--rounds 1 --seconds 0.05", take_turns)
    assert code == 0
    told = json.loads(printed.splitlines()[-1])
    assert set(told) == KEYS
    rates = told["images_per_second"]
    assert {"ours", "ours, --no-quick-reading", "plain tf.data"} <= set(rates)
    assert ("PyTorch" in rates) is bool(measure.find_spec("torch"))
    assert all(min(rate["rounds"]) > 0 for rate in rates.values())
    bars = {c["name"].removeprefix("ours / "): c["bar"] for c in told["comparisons"]}
    assert bars["plain tf.data"] == 1


def test_training_step_runs(run_here):
    code, printed, _ = run_here(
        training_step, "--rounds 2 --steps 1 --models resnet8 --width 1 --precision float32"
    )
    assert code == 0
    assert "time lost to the loop" in printed
    told = json.loads(printed.splitlines()[-1])
    assert set(told) == KEYS
    label = "resnet8 float32"
    rates = {name.removeprefix(f"{label}, "): rate for name, rate in told["images_per_second"].items()}
    assert {"loop", "batch in memory", "our step", "matrix product"} <= set(rates)
    assert ("PyTorch eager" in rates) is bool(measure.find_spec("torch"))
    assert all(len(rate["rounds"]) == 2 and rate["minimum"] > 0 for rate in rates.values())
    lost, share, *_ = told["comparisons"]
    assert (lost["unit"], lost["bar"], lost["upper"]) == ("%", 3, True)
    assert (share["name"], share["bar"]) == (f"{label}, our step / matrix product", 0.6)
    assert share["values"] == ratios(rates["our step"]["rounds"], rates["matrix product"]["rounds"])


def test_a_product_counts_as_images_by_its_operations(monkeypatch):
    # MLPerf Tiny's ResNet-8 on 32 x 32 pixels: positions x window x channels in x channels out.
    first = 32**2 * 9 * (3 * 16 + 2 * 16 * 16)
    second = 16**2 * (9 * (16 * 32 + 32 * 32) + 16 * 32)
    third = 8**2 * (9 * (32 * 64 + 64 * 64) + 32 * 64)
    operations_an_image = 3 * 2 * (first + second + third + 64 * 10)
    clock = itertools.count()
    monkeypatch.setattr(training_step.time, "perf_counter", lambda: float(next(clock)))
    # A step is less than one product of two matrices of 2048 x 2048, two are more.
    for steps, products in ((1, 1), (2, 2)):
        images_a_second = training_step.matrix_product("resnet8", 16, "float32", steps)()
        assert images_a_second == pytest.approx(products * 2 * 2048**3 / operations_an_image)


@pytest.mark.parametrize("name", ["input_pipeline", "training_step"])
def test_wrong_input_is_refused_in_one_line(name):
    command = [sys.executable, "-m", f"benchmarks.{name}", "--rounds", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--rounds: must be at least 1; received 0" in done.stderr.splitlines()[-1]
