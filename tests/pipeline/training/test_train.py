"""`python train.py` as its users run it: what it trains, prints, leaves and refuses."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_digits

import train
from pipeline.config.config import Config, load_values
from pipeline.config.presets import preset
from pipeline.run_directory import RunDirectory
from pipeline.training import resolve
from pipeline.training.messages import print_plan
from pipeline.training.run import TrainingRun
from tests.commands import ROOT, run_command
from tests.pipeline.training.samples import run_of

PREPARED = Path(os.environ.get("TFDS_DATA_DIR", ROOT.parent / "shared/tensorflow_datasets"))
"""Where CIFAR-10 may lie; read before the tests hide it."""

TINY = "--model resnet8 --width 2 --batch-size 64 --devices cpu".split()

QUICK = "--model convnet --width 2 --epochs 1 --devices cpu".split()
"""For what has nothing to do with the network: a few seconds less to trace it."""

OPEN = {"devices", "image_size", "precision", "stem"}
"""What a preset leaves to the data and the machine."""


@pytest.fixture(autouse=True)
def _own_folder_and_signals(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # No data set is prepared here, and no host answers: also where there is a network.
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nothing"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def image_folder(path: Path) -> Path:
    """Three classes told apart by colour, images of several sizes and two formats."""
    generator = np.random.default_rng(0)
    for label, name in enumerate(("red", "green", "blue")):
        (path / name).mkdir(parents=True)
        for index in range(12):
            pixels = generator.integers(0, 100, (20 + index, 20, 3), dtype=np.uint8)
            pixels[..., label] += 120
            ending = "png" if index % 2 else "jpg"
            Image.fromarray(pixels).save(path / name / f"{index}.{ending}")
    return path


def folder_settings(path: Path) -> list[str]:
    return ["folder_scratch", "--data", f"folder:{path}", *QUICK, "--image-size", "16", "--batch-size", "8"]


def error_of(capsys, *arguments: str) -> str:
    """Run in process; return the one line of the user error it must end with."""
    assert train.main(list(arguments)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_with_no_argument_and_no_cifar10_digits_are_trained_well(tmp_path):
    command, lines = [sys.executable, ROOT / "train.py"], []
    with subprocess.Popen(command, cwd=tmp_path, stdout=PIPE, stderr=PIPE, text=True) as process:
        for line in process.stdout:
            lines.append(line)
            if line.startswith("epoch 8/"):
                process.terminate()
        assert process.stderr.read() == ""
    assert process.returncode == 130
    assert lines[0].startswith("CIFAR-10 is neither prepared nor downloadable here")
    assert "digits" in lines[1]
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert run_dir.name.startswith("digits-")
    # But for what it leaves open, the run is the preset.
    recorded = Config().with_values(load_values(run_dir / "config.json")).values()
    chosen = preset("digits").values()
    assert {name for name in chosen if recorded[name] != chosen[name]} <= OPEN
    with (run_dir / "history.csv").open() as file:
        accuracies = [float(row["val_accuracy"]) for row in csv.DictReader(file)]
    # Of 153 images. Measured: 95 to 98 % in each of epochs 5 to 8, of 30 that end at 99.
    assert max(accuracies) >= 0.95


TWO_EPOCHS = ("--epochs", "2", "--precision", "mixed_bfloat16")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A short finished run of digits in half precision, and what it printed."""
    run_dir = tmp_path_factory.mktemp("finished") / "run"
    outcome = run_command(train.main, "digits", *TINY, *TWO_EPOCHS, "--run-dir", run_dir)
    assert outcome.code == 0, outcome
    return run_dir, outcome.printed


def resnet8_parameters(width: int, classes: int) -> int:
    """Weights of section 4.2 of He et al. 2015, n = 1, with projections: convolutions, norms, head."""

    def convolution_and_norm(kernel: int, c_in: int, c_out: int) -> int:
        return kernel * kernel * c_in * c_out + 2 * c_out

    count, c_in = convolution_and_norm(3, 3, width), width
    for c_out in (width, 2 * width, 4 * width):
        count += convolution_and_norm(3, c_in, c_out) + convolution_and_norm(3, c_out, c_out)
        count += convolution_and_norm(1, c_in, c_out) if c_in != c_out else 0
        c_in = c_out
    return count + c_in * classes + classes


def test_a_run_prints_its_plan_its_progress_and_its_result(finished):
    run_dir, out = finished
    for text in (
        "digits, 10 classes, 8 x 8 px",
        # As the UCI's documentation of the test part counts them.
        "classes  0 178, 1 182, 2 177, 3 183, 4 181, 5 182, 6 181, 7 179, 8 174, 9 180\n",
        "train 1,274, validation 153, calibration 100, test 270",
        f"resnet8, width 2, cifar stem, {resnet8_parameters(2, 10):,} parameters",
        "precision  mixed_bfloat16 (as asked)",
        "cpu:1 (1 replica)",
        "64 in all, 64 a replica",
        "2 epochs x 19 steps = 38",
        "of training left at",
        "epoch 2/2: loss",
        "test accuracy",
        f"everything lies in {run_dir}",
        f"tensorboard --logdir {run_dir}/tensorboard",
        f"python train.py --config {run_dir}/config.json --seed 1",
    ):
        assert text in out


def test_a_set_that_is_large_enough_to_calibrate_is_not_warned_of(finished):
    assert "int8" not in finished[1]


def test_the_plan_tells_both_rates_of_muon_and_a_calibration_that_is_asked_small(capsys, tmp_path):
    settings = ["--calibration-size", "31", "--optimizer", "muon", "--muon-rate", "0.3"]
    run = run_of(tmp_path / "run", "digits", *QUICK, *settings)
    print_plan(run.resolved, run.model, run.parameters, run.fresh)
    plan = capsys.readouterr().out
    assert (
        "int8  calibration has 31 of the 32 images that it needs: raise --calibration-size, or an export"
        in plan
    )
    assert "optimizer  muon, cosine schedule, peak learning rate 0.1, of kernels 0.3\n" in plan


def test_the_plan_shows_no_escape_code_of_a_run_from_elsewhere(finished, capsys, tmp_path):
    other = shutil.copytree(finished[0], tmp_path / "other")
    recorded = json.loads((other / "splits.json").read_text())
    recorded["class_names"][0] = "\x1b[2J"
    (other / "splits.json").write_text(json.dumps(recorded))
    run = run_of(tmp_path / "run", "digits", *TINY, "--weights", str(other))
    print_plan(run.resolved, run.model, run.parameters, run.fresh)
    assert r"fresh, as theirs is for other classes: \x1b[2J, 1, 2" in capsys.readouterr().out


def test_a_run_leaves_everything_that_it_promises(finished):
    run_dir, out = finished
    for name in (
        "config.json",
        "environment.json",
        "splits.json",
        "history.csv",
        "metrics.json",
        "model.keras",
        "checkpoints/best.npz",
        "plots/augmented_batch.png",
        "plots/learning_curves.png",
    ):
        assert (run_dir / name).stat().st_size > 0, name
    assert list(run_dir.glob("tensorboard/**/events.*"))
    with (run_dir / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    splits = json.loads((run_dir / "splits.json").read_text())["splits"]
    assert set(splits) == {"train", "validation", "calibration", "test"}
    assert all(len(split["fingerprint"]) == 64 for split in splits.values())
    accuracy = json.loads((run_dir / "metrics.json").read_text())["test"]["accuracy"]
    assert f"test accuracy {accuracy:.2%}" in out


def test_the_saved_model_is_plain_keras_and_does_what_was_measured(finished, tmp_path):
    # scikit-learn's own pixels, and nothing of this project but the recorded split.
    run_dir, _ = finished
    digits = load_digits()
    pixels = np.rint(digits.images[..., None].repeat(3, -1) * 255 / 16).astype(np.uint8)
    np.savez(tmp_path / "digits.npz", pixels=pixels, target=digits.target)
    program = """
import sys, keras, numpy as np
pixels, target = np.load(sys.argv[2]).values()
model = keras.saving.load_model(sys.argv[1] + "/model.keras")
assert model.input_shape == (None, 8, 8, 3)
assert {type(layer).__module__.split(".")[0] for layer in model.layers} == {"keras"}
assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
logits = np.array(model(pixels))
assert logits.dtype == np.float32
accuracy = (logits.argmax(-1) == target).mean()
print(accuracy)
# Compiled, with Keras' own loss and metrics.
measured = model.evaluate(pixels, np.eye(10)[target], return_dict=True, verbose=0)
assert abs(measured["accuracy"] - accuracy) < 1e-6
print("pipeline" in sys.modules)
"""
    # A warning, such as of an optimizer's variables that are not there, is an error.
    command = [sys.executable, "-W", "error::UserWarning", "-c", program, run_dir, tmp_path / "digits.npz"]
    result = subprocess.run(command, cwd="/", capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    accuracy, imported = result.stdout.split()
    assert imported == "False"
    metrics = json.loads((run_dir / "metrics.json").read_text())
    # Test and validation are 423 of the 1,797 images; the rest was trained on and does alike.
    assert abs(float(accuracy) - metrics["test"]["accuracy"]) < 0.1


def test_naming_cifar10_where_it_is_not_is_an_error_without_a_substitute(capsys, tmp_path):
    for arguments in (["--data", "cifar10"], ["cifar10"]):
        error = error_of(capsys, *arguments)
        for way in ("TFDS_DATA_DIR", "tfds build cifar10", "folder:PATH", "digits"):
            assert way in error
    assert not list(tmp_path.glob("runs/*"))


def test_a_folder_of_images_is_checked_split_and_trained(capsys, tmp_path):
    folder = image_folder(tmp_path / "images")
    (folder / "red" / "broken.jpg").write_bytes((folder / "red" / "0.jpg").read_bytes()[:200])
    shutil.copy(folder / "blue" / "3.png", folder / "blue" / "same.png")
    run_dir = tmp_path / "run"
    assert train.main([*folder_settings(folder), "--run-dir", str(run_dir)]) == 0
    out = capsys.readouterr().out
    assert "2 files, listed in data_problems.csv" in out
    assert "classes  blue 12, green 12, red 12\n" in out
    with (run_dir / "data_problems.csv").open() as file:
        problems = {Path(row["path"]).name: row["problem"] for row in csv.DictReader(file)}
    assert problems.keys() == {"broken.jpg", "same.png"}
    splits = json.loads((run_dir / "splits.json").read_text())
    assert splits["class_names"] == ["blue", "green", "red"]
    assert sum(split["images"] for split in splits["splits"].values()) == 36
    calibration = splits["splits"]["calibration"]["images"]
    assert (
        f"int8  calibration has {calibration} of the 32 images that it needs: add images, or an export" in out
    )

    assert "    advice  --batch-size 8 is more than a quarter of train's" in out

    # The images are part of what a run is a function of.
    (run_dir / "metrics.json").unlink()
    (folder / "red" / "5.png").unlink()
    error = error_of(capsys, "--resume", "--run-dir", str(run_dir))
    assert "--resume needs the images that the run began with" in error


def test_an_image_that_vanishes_after_the_check_is_a_user_error(capsys, tmp_path, monkeypatch):
    folder = image_folder(tmp_path / "images")
    measure = resolve.pixel_statistics

    def measure_and_remove(examples):
        statistics = measure(examples)
        shutil.rmtree(folder / "red")
        return statistics

    monkeypatch.setattr(resolve, "pixel_statistics", measure_and_remove)
    error = error_of(capsys, *folder_settings(folder), "--run-dir", "run")
    assert "images must stay where they are" in error
    assert f"{folder}/red" in error


def test_cifar10_is_trained_where_it_is_prepared(capsys, monkeypatch, tmp_path):
    if not (PREPARED / "cifar10").is_dir():
        pytest.skip(f"CIFAR-10 is not prepared in {PREPARED}; set TFDS_DATA_DIR")
    monkeypatch.setenv("TFDS_DATA_DIR", str(PREPARED))
    # A sixteenth of the pixels, and what varies them made to fit.
    smaller = "--batch-size 256 --image-size 8 --crop-padding 1 --cutout 2".split()
    assert train.main(["cifar10", *QUICK, *smaller, "--run-dir", str(tmp_path / "run")]) == 0
    assert "train 44,500, validation 5,000, calibration 500, test 10,000" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    # Chance is 0.1; a width of 2 is small and one epoch is short.
    assert metrics["test"]["accuracy"] > 0.2


def test_a_non_finite_loss_stops_the_run_at_once(capsys, tmp_path):
    run_dir = tmp_path / "run"
    arguments = "digits --peak-learning-rate 1e30 --schedule constant --warmup-share 0".split()
    assert train.main([*arguments, *QUICK, "--run-dir", str(run_dir)]) == 1
    out = capsys.readouterr().out
    assert re.search(r"stopped: the loss became \w+ at step \d+, after \d+ steps, learning", out)
    assert "learning rate 1e+30\n" in out
    assert "last good checkpoint: none yet" in out
    assert not (run_dir / "metrics.json").exists()


def test_weights_that_the_last_step_of_an_epoch_spoils_stop_the_run_with_its_rate(capsys, tmp_path):
    run_dir = tmp_path / "run"
    # One step, behind which the schedule is at zero.
    arguments = "digits --peak-learning-rate 1e30 --warmup-share 0 --batch-size 1274".split()
    assert train.main([*arguments, *QUICK, "--run-dir", str(run_dir)]) == 1
    told = capsys.readouterr().out
    expected = r"stopped: the cross-entropy of validation became (nan|inf) in epoch 1, after 1 steps"
    assert re.search(rf"{expected}, learning rate 1e\+30\n", told)
    assert not {"history.csv", "metrics.json"} & {path.name for path in run_dir.iterdir()}
    assert not any((run_dir / "checkpoints").iterdir())


def test_the_moving_average_is_what_is_saved_and_in_float32(tmp_path):
    arguments = ["digits", *QUICK, "--batch-size", "64", "--ema-decay", "0.9", "--precision", "mixed_float16"]
    assert train.main([*arguments, "--run-dir", str(tmp_path / "run")]) == 0
    model = keras.saving.load_model(tmp_path / "run" / "model.keras", compile=False)
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    with np.load(tmp_path / "run/checkpoints/step_000000019.npz") as file:
        averages = [file[name] for name in file.files if name.endswith("_average")]
        trained = [file[name] for name in file.files[: len(model.weights)]]
    for weight, average in zip(model.get_weights(), averages, strict=True):
        np.testing.assert_array_equal(weight, average)
    assert any(not np.array_equal(raw, average) for raw, average in zip(trained, averages, strict=True))


def starve(monkeypatch, message: str) -> None:
    """Let training fail as TensorFlow does for want of memory, or of room on the disk."""

    def fail(run, watchers):
        raise tf.errors.ResourceExhaustedError(None, None, message)

    monkeypatch.setattr(TrainingRun, "fit", fail)


def test_a_full_memory_is_told(capsys, monkeypatch):
    starve(monkeypatch, "OOM when allocating tensor")
    assert error_of(capsys, "digits", *QUICK, "--batch-size", "64") == (
        "error: a step must fit in the devices' memory; received --batch-size 64 and --width 2\n"
    )


def test_a_full_disk_is_not_called_a_full_memory_and_the_run_goes_on(capsys, monkeypatch):
    with monkeypatch.context() as full:
        starve(full, "{{f op}} run/tensorboard/events.v2; No space left on device\n\tmore")
        assert error_of(capsys, "digits", *QUICK, "--run-dir", "run") == (
            "error: the disk must have room for what is written; run/tensorboard/events.v2; No space left on "
            "device (what was saved before is whole)\n"
        )
    assert train.main(["--resume", "--run-dir", "run"]) == 0


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[]", "{}", '{"test": 1}', '{"test": {"accuracy": "all"}, "validation": {}}']
)
def test_damaged_metrics_of_a_finished_run_are_a_user_error(capsys, tmp_path, finished, text):
    run_dir = shutil.copytree(finished[0], tmp_path / "run")
    (run_dir / "metrics.json").write_text(text)
    error = error_of(capsys, "--resume", "--run-dir", str(run_dir))
    assert "a run must have a whole metrics.json; " in error


@pytest.mark.parametrize("damage", ["missing", "cut short"])
def test_a_run_whose_best_weights_are_lost_goes_back_and_ends_the_same(tmp_path, finished, damage):
    run_dir = shutil.copytree(finished[0], tmp_path / "run")
    (run_dir / "metrics.json").unlink()
    best = run_dir / "checkpoints/best.npz"
    best.write_bytes(best.read_bytes()[:1000]) if damage == "cut short" else best.unlink()
    assert train.main(["--resume", "--run-dir", str(run_dir)]) == 0
    models = [keras.saving.load_model(run / "model.keras", compile=False) for run in (finished[0], run_dir)]
    for mine, theirs in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_two_processes_cannot_train_in_one_directory(capsys, tmp_path):
    with RunDirectory(tmp_path / "run").open():
        error = error_of(capsys, "digits", *TINY, "--run-dir", str(tmp_path / "run"))
    assert "one process at a time" in error


def make_empty_folder(path: Path) -> None:
    path.mkdir()


def make_one_class(path: Path) -> None:
    image_folder(path)
    shutil.rmtree(path / "red")
    shutil.rmtree(path / "green")


def make_no_image(path: Path) -> None:
    for name in ("a", "b"):
        (path / name).mkdir(parents=True)
        for index in range(4):
            (path / name / f"{index}.png").write_bytes(b"")


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (make_empty_folder, "class"),
        (make_one_class, "at least 2 class folders; received 1"),
        (make_no_image, "share of damaged files"),
    ],
)
def test_folders_that_cannot_be_trained_on_leave_nothing_behind(capsys, tmp_path, make, rule):
    make(tmp_path / "images")
    error = error_of(capsys, "folder_scratch", "--data", f"folder:{tmp_path / 'images'}", "--run-dir", "run")
    assert str(tmp_path / "images") in error
    assert rule in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "cifar11"], ["cifar11", "did you mean 'cifar10"]),
        (["--data", "imdb_reviews"], ["imdb_reviews", "image"]),
        (["--data", "folder:nowhere"], ["nowhere"]),
        (["digits", "--batch-size", "5000"], ["--batch-size", "at most the 1,274", "5000"]),
        (["digits", "--crop-padding", "8"], ["--crop-padding must be less", "8 pixels"]),
        (["digits", "--cutout", "16"], ["--cutout must be less than twice", "8 pixels", "received 16"]),
        (["digits", "--stem", "imagenet"], ["at least 32 x 32", "8 x 8"]),
        (["digits", "--devices", "gpu:64"], ["--devices", "no more GPUs", "gpu:64"]),
        (["digits", "--run-dir", "a_file/run"], ["--run-dir must be writable", "a_file/run"]),
        (["digits", "--precision", "mixed_float16", "--devices", "cpu:2"], ["single device"]),
    ],
)
def test_bad_input_is_told_in_one_line_and_leaves_nothing_behind(capsys, tmp_path, arguments, words):
    (tmp_path / "a_file").write_text("")
    error = error_of(capsys, *arguments)
    assert all(word in error for word in words), error
    assert [path.name for path in tmp_path.iterdir() if path.name != "runs"] == ["a_file"]
    assert not list(tmp_path.glob("runs/*"))


def test_a_checkpoint_of_another_model_is_refused(finished, capsys):
    shutil.copytree(finished[0], "wider")
    os.remove("wider/metrics.json")
    config = Path("wider/config.json")
    config.write_text(config.read_text().replace('"width": 2', '"width": 3'))
    error = error_of(capsys, "--resume", "--run-dir", "wider")
    assert "a checkpoint must come from the same model" in error
    assert "(3, 3, 3, 3)" in error
    assert "(3, 3, 3, 2)" in error
