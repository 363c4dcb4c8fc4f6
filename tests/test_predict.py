"""`predict.py`: the same answer from Keras, bundle and run.py, how it is written, and what it refuses."""

import contextlib
import csv
import functools
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax

import predict
from pipeline.errors import received
from pipeline.ready_models import list_ready
from tests.commands import ROOT, Outcome, refusal, run_command
from tests.encodings import enormous, orientation
from tests.export.device.samples import main_of, parse
from tests.prediction_samples import COUNT, digits

run_predict = functools.partial(run_command, predict.main)


def read(outcome: Outcome) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(outcome.printed)))


def chances(rows: list[dict[str, str]], classes: int = 10) -> np.ndarray:
    """Probabilities [images, classes] by label, of rows with all classes."""
    return np.array(
        [
            [
                p
                for _, p in sorted(
                    (int(row[f"class_{k}"]), float(row[f"probability_{k}"])) for k in range(1, classes + 1)
                )
            ]
            for row in rows
        ]
    )


def rows_of_pixels(folder: Path) -> list[int]:
    """Rows of `digits` in the order of the sorted files."""
    return [int(path.stem) for path in sorted(folder.rglob("*.png"))]


def test_keras_answers_as_the_network_by_itself(digits_run, digit_folder):
    rows = read(run_predict(digits_run, digit_folder, "--top", 10))
    network = keras.saving.load_model(digits_run / "model.keras", compile=False)
    logits = network.predict(digits()[0][rows_of_pixels(digit_folder)], verbose=0)
    # Printed with four decimals.
    np.testing.assert_allclose(chances(rows), softmax(logits, axis=1), atol=5.1e-5)


@pytest.mark.parametrize(("name", "atol"), [("model_int8.tflite", 1e-9), ("model_float32.tflite", 1.1e-4)])
def test_a_bundle_answers_as_its_run_py(name, atol, digit_bundle, digit_folder, capsys):
    paths = sorted(map(str, digit_folder.rglob("*.png")))
    assert main_of(digit_bundle)(["--model", name, "--top", "10", *paths]) == 0
    paths, labels, expected = parse(capsys.readouterr().out)
    rows = read(run_predict(digit_bundle / name, digit_folder, "--top", 10))
    assert [row["path"] for row in rows] == paths
    assert [[row[f"class_{k}"] for k in (1, 2)] for row in rows] == [row[:2] for row in labels]
    found = [[float(row[f"probability_{k}"]) for k in range(1, 11)] for row in rows]
    np.testing.assert_allclose(found, expected, atol=atol)


def test_float32_answers_as_keras_and_a_bundle_with_its_int8_file(digits_run, digit_bundle, digit_folder):
    keras_rows, float32, int8, default = (
        read(run_predict(model, digit_folder, "--top", 10))
        for model in (
            digits_run / "model.keras",
            digit_bundle / "model_float32.tflite",
            digit_bundle / "model_int8.tflite",
            digit_bundle,
        )
    )
    np.testing.assert_allclose(chances(keras_rows), chances(float32), atol=1.1e-4)
    assert default == int8 != float32


def test_rows_name_path_label_answer_and_the_best_classes(digits_run, digit_folder, tmp_path):
    outcome = run_predict(digits_run, digit_folder / "4", digit_folder, "--unsure", 0.9)
    rows = read(outcome)
    assert (
        list(rows[0])
        == "path label answer class_1 probability_1 class_2 probability_2 class_3 probability_3".split()
    )
    of_four = len(list((digit_folder / "4").iterdir()))
    assert len(rows) == COUNT + of_four
    # Given by itself, a class folder is no folder of class folders.
    assert {row["label"] for row in rows[:of_four]} == {""}
    assert all(row["label"] == Path(row["path"]).parent.name for row in rows[of_four:])
    sure = [float(row["probability_1"]) >= 0.9 for row in rows]
    assert 0 < sum(sure) < len(rows)
    for row, is_sure in zip(rows, sure, strict=True):
        # At 0.9 itself four decimals would not tell.
        assert row["answer"] == (row["class_1"] if is_sure else "unsure")
    right = sum(row["class_1"] == row["label"] for row in rows[of_four:])
    assert f"accuracy {100 * right / COUNT:.2f} % (" in outcome.error
    assert f"on {COUNT} labelled images" in outcome.error
    assert f"not scored: {of_four} images" in outcome.error
    written = run_predict(digits_run, digit_folder, "--csv", tmp_path / "answers.csv", "--unsure", 0.9)
    with (tmp_path / "answers.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == rows[of_four:]
    assert f"{COUNT} answers are in" in written.printed
    assert "accuracy" in written.printed


def test_an_image_that_cannot_be_read_takes_one_line_and_the_others_are_answered(
    digits_run, digit_folder, tmp_path
):
    folder = shutil.copytree(digit_folder, tmp_path / "images")
    whole = (folder / "0" / "00.png").read_bytes()
    (folder / "0" / "00.png").write_bytes(whole[: len(whole) // 2])
    for kind in ("png", "bmp", "gif", "jpg"):
        (folder / f"large.{kind}").write_bytes(enormous(kind))
    (folder / "notes.png").write_text("no image")
    (folder / ".hidden").mkdir()
    shutil.copy(folder / "1" / "01.png", folder / ".hidden")
    os.mkfifo(folder / "pipe.png")
    outcome = run_predict(digits_run, folder)
    assert outcome.code == 1
    assert len(read(outcome)) == COUNT - 1
    said = outcome.error.splitlines()
    assert said[0] == (
        "passed over 2 files, none of them a JPEG, PNG, GIF, BMP, WebP or TIFF image: "
        f"{folder}/notes.png, {folder}/pipe.png"
    )
    assert said[1] == f"error: {folder}/0/00.png: truncated or damaged"
    assert [line.split(": ")[1] for line in said[2:6]] == [
        f"{folder}/large.{k}" for k in ("bmp", "gif", "jpg", "png")
    ]
    assert all("20,000 x 20,000 pixels are more than" in line for line in said[2:6])
    assert "accuracy" in said[6]


def test_images_are_upright_unless_the_model_is_of_before(
    digits_run, digit_bundle, digit_folder, tmp_path, capsys
):
    sideways, turned = tmp_path / "sideways", tmp_path / "turned"
    for path in sorted(digit_folder.rglob("*.png")):
        for folder, exif in ((sideways, orientation(6)), (turned, None)):
            folder.mkdir(exist_ok=True)
            with Image.open(path) as image:
                image.transpose(Image.Transpose.ROTATE_90).save(folder / path.name, exif=exif)
    before, bundle = (
        shutil.copytree(digits_run, tmp_path / "run"),
        shutil.copytree(digit_bundle, tmp_path / "b"),
    )
    for path, section, name in (
        (before / "config.json", "data", "exif_orientation"),
        (bundle / "preprocessing.json", None, "image"),
    ):
        content = json.loads(path.read_text())
        del (content[section] if section else content)[name]
        path.write_text(json.dumps(content))

    def answers(model: Path, folder: Path) -> list[list[str]]:
        rows = read(run_predict(model, folder, "--top", 10))
        return sorted([Path(row.pop("path")).name, *row.values()] for row in rows)

    def without_labels(rows: list[list[str]]) -> list[list[str]]:
        return [[name, "", *rest] for name, _, *rest in rows]

    for model, older in ((digits_run, before), (digit_bundle, bundle)):
        upright = without_labels(answers(model, digit_folder))
        assert answers(model, sideways) == upright
        assert answers(older, sideways) == answers(model, turned) != upright
    assert main_of(digit_bundle)(["--top", "1", str(sideways)]) == 0
    paths, labels, _ = parse(capsys.readouterr().out)
    assert [[Path(path).name, label] for path, (label,) in zip(paths, labels, strict=True)] == [
        [name, answer] for name, _, answer, *_ in answers(digit_bundle, sideways)
    ]


@pytest.mark.parametrize(
    ("how", "box"),
    [({"resize": "crop"}, (10, 2, 45, 37)), ({"resize": "crop", "crop_share": 0.5}, (18, 10, 38, 30))],
)
def test_images_are_cropped_as_the_bundle_says(how, box, digit_bundle, tmp_path, capsys):
    bundle = shutil.copytree(digit_bundle, tmp_path / "bundle")
    content = json.loads((bundle / "preprocessing.json").read_text())
    content["image"] |= how
    (bundle / "preprocessing.json").write_text(json.dumps(content))
    noise = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.png")
    # By Pillow: of 40 rows and 56 columns those in the middle, as many as the share says.
    Image.fromarray(noise).crop(box).save(tmp_path / "cut.png")
    answers = [
        [value for name, value in row.items() if name != "path"]
        for model, image in ((bundle, "whole.png"), (digit_bundle, "cut.png"), (digit_bundle, "whole.png"))
        for row in read(run_predict(model, tmp_path / image, "--top", 10))
    ]
    assert answers[0] == answers[1] != answers[2]
    assert main_of(bundle)(["--top", "10", str(tmp_path / "whole.png")]) == 0
    assert main_of(digit_bundle)(["--top", "10", str(tmp_path / "cut.png")]) == 0
    ours, theirs = (line.split("\t")[1:] for line in capsys.readouterr().out.splitlines())
    assert ours == theirs


def test_only_folders_tell_labels(digits_run, digit_folder, tmp_path):
    (tmp_path / "7").mkdir()
    image = digit_folder / "4" / "04.png"
    shutil.copy(image, tmp_path / "7" / "4")
    shutil.copy(image, tmp_path / "9")
    rows = read(run_predict(digits_run, tmp_path))
    assert [(Path(row["path"]).name, row["label"], row["answer"]) for row in rows] == [
        ("4", "7", "4"),
        ("9", "", "4"),
    ]


def test_a_file_without_names_of_classes_is_numbered_or_refused(
    digits_run, digit_bundle, digit_folder, tmp_path
):
    shutil.copy(digits_run / "model.keras", tmp_path / "mine.keras")
    image = digit_folder / "4" / "04.png"
    numbered = run_predict(tmp_path / "mine.keras", image)
    assert "mine.keras: they are numbered" in numbered.error
    assert read(numbered)[0]["answer"] == "4"
    (tmp_path / "labels.txt").write_text("".join(f"digit {k}\n" for k in range(10)))
    assert read(run_predict(tmp_path / "mine.keras", image))[0]["answer"] == "digit 4"
    (tmp_path / "labels.txt").unlink()
    shutil.copy(digit_bundle / "model_int8.tflite", tmp_path)
    refused = run_predict(tmp_path / "model_int8.tflite", image)
    assert refused.code == 2
    assert "must have labels.txt and preprocessing.json beside it" in refused.error


def test_a_network_that_was_copied_with_a_part_of_its_run_is_numbered(digits_run, digit_folder, tmp_path):
    for name in ("model.keras", "splits.json"):
        shutil.copy(digits_run / name, tmp_path)
    assert "they are numbered" in run_predict(tmp_path / "model.keras", digit_folder / "4" / "04.png").error


def test_where_no_image_can_be_read_the_header_stands_alone(digit_bundle, tmp_path):
    (tmp_path / "empty.png").touch()
    outcome = run_predict(digit_bundle, tmp_path / "empty.png", "--top", 1)
    assert (outcome.code, outcome.printed) == (1, "path,label,answer,class_1,probability_1\r\n")


def test_a_file_that_was_changed_since_its_export_is_refused(digit_bundle, digit_folder, tmp_path):
    bundle = shutil.copytree(digit_bundle, tmp_path / "bundle")
    content = bytearray((bundle / "model_int8.tflite").read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / "model_int8.tflite").write_bytes(content)
    refused = run_predict(bundle, digit_folder)
    assert (refused.code, refused.printed) == (2, "")
    assert "must be as it was exported, with the CRC-32" in refused.error


def test_more_classes_than_there_are_and_folders_without_images_are_refused(
    digits_run, digit_folder, tmp_path, contents
):
    (tmp_path / "empty").mkdir()
    refuse = functools.partial(refusal, run_predict, tmp_path, contents)
    assert (
        refuse(digits_run, digit_folder, "--top", 11) == "--top must be at most the 10 classes; received 11"
    )
    assert refuse(digits_run, tmp_path / "empty").startswith(
        "a folder must hold a JPEG, PNG, GIF, BMP, WebP or TIFF image; "
    )


@pytest.mark.parametrize(
    ("is_full", "code", "error"),
    [(False, 0, ""), (True, 2, "error: stdout must take the answers; No space left on device\n")],
)
def test_where_stdout_takes_no_more_it_ends(is_full, code, error, digit_bundle, digit_folder):
    read_end, write_end = os.pipe()
    os.close(read_end)
    said = io.StringIO()
    with (
        open("/dev/full" if is_full else write_end, "w") as nobody,
        contextlib.redirect_stdout(nobody),
        contextlib.redirect_stderr(said),
    ):
        # The score of all would be told at the end.
        assert predict.main([str(digit_bundle), *[str(digit_folder)] * 4]) == code
    if is_full:
        os.close(write_end)
    assert said.getvalue() == error


def test_a_page_answers_until_ctrl_c(digit_bundle, digit_folder):
    printed, error = io.StringIO(), io.StringIO()
    found: dict[str, bytes | str] = {}

    def visit() -> None:
        try:
            end = time.monotonic() + 60
            while not (address := re.search(r"http://127\.0\.0\.1:\d+", printed.getvalue())):
                assert time.monotonic() < end
                time.sleep(0.01)
            found["address"] = address[0]
            found["page"] = urllib.request.urlopen(address[0]).read()
            image = (digit_folder / "4" / "04.png").read_bytes()
            found["answer"] = urllib.request.urlopen(f"{address[0]}/answer", image).read()
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    visitor = threading.Thread(target=visit)
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(error):
        visitor.start()
        code = predict.main([str(digit_bundle), "--serve", "0", "--top", "2"])
        visitor.join()
    assert (code, error.getvalue()) == (130, "interrupted\n")
    assert printed.getvalue() == f"{digit_bundle} answers at {found['address']} (Ctrl-C ends it)\n"
    assert str(digit_bundle).encode() in found["page"]
    (int8,) = json.loads(found["answer"])["networks"]
    assert (int8["name"], int8["answer"], len(int8["classes"])) == ("int8", "4", 2)
    with pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(found["address"])


WITHOUT_TENSORFLOW = """
import sys
import pipeline
from predict import main
for line in sys.stdin:
    print(main(line.split()), end=" ", flush=True, file=sys.stderr)
print("loaded:", *{"tensorflow", "keras", "numpy", "ai_edge_litert", "PIL"} & set(sys.modules))
"""


def test_what_is_refused_at_once_loads_no_tensorflow(digits_run, tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "there.csv").touch()
    image, run = tmp_path / "a.png", digits_run
    ready = f"ready: {', '.join(list_ready())}"
    other = socket.create_server(("127.0.0.1", 0))
    taken, long = other.getsockname()[1], "x" * 256
    lines = {
        "": f"a model must be given; received none, see --help; {ready}",
        f"{run}": "an image or folder must be given after the model; received none, see --help",
        f"{run} {tmp_path}/b.png": f"an image or folder must exist; received '{tmp_path}/b.png'",
        f"{run} /dev/zero": "an image must be a regular file; received '/dev/zero'",
        f"{run} {image} --top 0": "--top must be at least 1 and at most 1000000; received 0",
        f"{run} {image} --unsure 60": "--unsure must be at least 0 and at most 1; received 60.0",
        f"{run} {image} --csv {tmp_path}/there.csv": (
            f"--csv must be a new file; received {tmp_path}/there.csv, which is there"
        ),
        f"{run} {image} --csv {tmp_path}/no/a.csv": (
            f"--csv must be in a folder that is there; received {tmp_path}/no/a.csv"
        ),
        f"{run} {image} --csv /proc/a.csv": "--csv must be writable; /proc/a.csv: No such file or directory",
        f"{long} {image}": f"a model must be readable; {received(long)}: File name too long",
        f"{run} {image} --tob 2": "unknown flag '--tob'; did you mean '--top'? see --help",
        f"{run} {image} --serve": (
            f"--serve must stand without images, its page takes them; received '{image}'"
        ),
        f"{run} --serve 65536": "--serve must be at least 0 and at most 65535; received 65536",
        f"{run} --serve x": "--serve must be a whole number; received 'x'",
        f"{run} --serve --csv {tmp_path}/a.csv": (
            f"--csv must stand without --serve; received --csv {tmp_path}/a.csv"
        ),
        f"{run} --serve {taken}": (
            f"--serve must name a free port of 127.0.0.1; received {taken}: Address already in use "
            "(--serve 0 takes any that is free)"
        ),
        f"{tmp_path} --serve": (
            "a model must be a run directory, a bundle with .tflite files, a .tflite or a .keras file, or "
            f"the name of a ready one; received '{tmp_path}'; {ready}"
        ),
        f"{tmp_path} {image}": (
            "a model must be a run directory, a bundle with .tflite files, a .tflite or a .keras file, or "
            f"the name of a ready one; received '{tmp_path}'; {ready}"
        ),
    }
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW]
    given = "".join(f"{line}\n" for line in lines)
    with other:
        done = subprocess.run(command, cwd=ROOT, input=given, capture_output=True, text=True)
    assert done.stderr == "".join(f"error: {message}\n2 " for message in lines.values())
    assert done.stdout == "loaded:\n"
