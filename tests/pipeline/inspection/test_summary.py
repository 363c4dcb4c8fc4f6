"""`train.py --summary` and `--diagram`: networks shown without their data, and what is refused."""

import re
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

import train
from pipeline.config.presets import preset
from tests.commands import refusal, run_command


@pytest.fixture(autouse=True)
def _empty_folder_and_no_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nothing"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")


command = partial(run_command, train.main)


def show(*arguments: str):
    outcome = command(*arguments)
    assert (outcome.code, outcome.error) == (0, "")
    return outcome.printed.splitlines()


def cells(line):
    return re.split(r"\s{2,}", line.strip())


def test_resnet50_on_imagenet_without_imagenet(tmp_path):
    title, header, *rows, totals, note = show("imagenet", "--model", "resnet50", "--summary")
    assert title == "resnet50, width 64, imagenet stem, 224 x 224 px, 1,000 classes"
    assert cells(header) == ["blocks", "output", "parameters", "multiply-adds", "share", "receptive field"]
    table = {name: values for name, *values in map(cells, rows)}
    # He et al. 2015, table 1: shapes and blocks; torchvision: 25,557,032 parameters, 4.09 GFLOPS.
    assert [table[f"stage{n}"][:2] for n in (1, 2, 3, 4)] == [
        ["3", "56 x 56 x 256"],
        ["4", "28 x 28 x 512"],
        ["6", "14 x 14 x 1,024"],
        ["3", "7 x 7 x 2,048"],
    ]
    assert table["head"] == ["1,000", "2,049,000", "2,048,000", "0.1%", "whole"]
    assert table["total"] == ["25,557,032", "4,089,184,256", "100.0%"]
    # 7x7 kernels on 112 x 112 positions, then the pool's 7 + 2 * 2 pixels.
    adds = 112 * 112 * 49 * 3 * 64
    assert table["stem"] == [
        "56 x 56 x 64",
        f"{49 * 3 * 64 + 128:,}",
        f"{adds:,}",
        f"{adds / 4_089_184_256:.1%}",
        "11 px",
    ]
    # 25,557,032 weights of 4 bytes and of 1, in units of 2^20.
    assert totals == (
        "25,557,032 parameters, 4,089,184,256 multiply-adds an image; "
        "weights 97.5 MiB in float32, about 24.4 MiB in int8"
    )
    assert "more than 224 reaches beyond the image" in note
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "title"),
    [
        ("", "resnet18, width 64, cifar stem, 32 x 32 px, 10 classes"),
        ("cifar100 --model wrn_10_2", "wrn_10_2, width 32, cifar stem, 32 x 32 px, 100 classes"),
        ("digits", "resnet18, width 16, cifar stem, 8 x 8 px, 10 classes"),
        ("--data mnist --model mlp --width 2", "mlp, width 2, 28 x 28 px, 10 classes"),
        (
            "--data stanford_dogs --image-size 96 --model resnet18d --width 4",
            "resnet18d, width 4, deep stem, 96 x 96 px, 120 classes",
        ),
    ],
)
def test_the_title_says_what_would_be_trained(arguments, title, tmp_path):
    assert show(*arguments.split(), "--summary")[0] == title
    assert list(tmp_path.iterdir()) == []


def test_a_field_within_the_image_is_not_said_to_be_beyond_it():
    *_, note = show("--model", "convnet", "--width", "2", "--summary")
    # 5x5, 2x2 / 2, 5x5 at a jump of 2, 2x2 / 2: 5 + 1 + 8 + 2 = 16 pixels of 32.
    assert note.startswith("receptive field")
    assert "beyond" not in note


def test_classes_of_a_folder_are_counted(tmp_path):
    for name in ("cat", "dog", "owl"):
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "images" / name / "1.png").write_bytes(b"not opened")
    title, *_ = show("folder_scratch", "--data", "folder:images", "--width", "2", "--summary")
    assert title == "resnet18, width 2, imagenet stem, 160 x 160 px, 3 classes"


def test_a_flag_that_changes_nothing_is_told_beside_the_table():
    outcome = command("digits", "--temperature", "2", "--crop-mode", "reflect", "--summary")
    assert outcome.code == 0
    assert outcome.error == "note: --temperature has no effect without --teacher\n"


def test_the_diagram_is_the_one_file_that_is_left(tmp_path):
    arguments = ("digits", "--model", "resnet8", "--width", "2", "--diagram")
    assert show(*arguments) == ["drawn in resnet8_diagram.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["resnet8_diagram.png"]
    with Image.open("resnet8_diagram.png") as image:
        assert image.format == "PNG"
    *table, last = show(*arguments, "--summary")
    assert table[0].startswith("resnet8, width 2")
    assert last == "drawn in resnet8_diagram.png"


def test_a_runs_own_network_is_shown_and_the_run_left_alone(tmp_path, contents):
    config = preset("digits").with_values({"model": "resnet8", "width": 4, "epochs": 1})
    Path("run").mkdir()
    Path("run/config.json").write_text(config.to_json())
    before = contents(tmp_path)
    title, *_ = show("--resume", "--run-dir", "run", "--summary")
    assert title == "resnet8, width 4, cifar stem, 8 x 8 px, 10 classes"
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--data cifar11", "--data must be folder:PATH, digits or what TFDS can open in"),
        ("--data oxford_iiit_pet", "--image-size must be given for images that are not squares"),
        ("--data folder:missing", "a folder must be readable; "),
        ("digits --stem imagenet", "must be at least 32 x 32 pixels; received 8 x 8"),
        ("--model resnet19", "unknown --model 'resnet19'; did you mean 'resnet18'?"),
    ],
)
@pytest.mark.parametrize("flag", ["--summary", "--diagram"])
def test_refusals(arguments, message, flag, tmp_path, contents):
    assert message in refusal(command, tmp_path, contents, *arguments.split(), flag)


def test_an_image_that_cannot_be_written_is_refused(tmp_path, contents):
    Path("resnet8_diagram.png").mkdir()
    arguments = ("digits", "--model", "resnet8", "--width", "2", "--diagram")
    assert "must be writable" in refusal(command, tmp_path, contents, *arguments)
