"""The benchmark of an engineer's folder: what it draws, how it counts, and that it runs to its end."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import image_folders, own_images
from benchmarks.drawn_images import THINGS, draw_image
from benchmarks.image_folders import ImageFolder, write_drawn_folder
from benchmarks.own_images import Found, Measured, Trained, accuracy_of, print_folders, score_suspects
from evaluation.request import parse_evaluation_request
from pipeline.console.prediction_request import parse_prediction_request
from pipeline.console.training_request import parse_training_request
from pipeline.files.csv_file import read_csv, write_csv
from tests.commands import run_command


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> ImageFolder:
    return write_drawn_folder(tmp_path_factory.mktemp("drawn") / "folder", seed=3, images=50, unseen=10)


def classes(folder: Path) -> Counter:
    """Images of each class folder."""
    return Counter(path.parent.name for path in folder.rglob("*.jpg"))


def test_six_percent_of_a_drawn_folder_are_labelled_wrongly(drawn):
    wrong = read_csv(drawn.wrong_labels)
    assert len(wrong) == 3
    assert all(row["label"] == Path(row["path"]).parent.name != row["right"] for row in wrong)
    assert all((drawn.images / row["path"]).is_file() for row in wrong)
    assert drawn.wrong_paths() == {row["path"] for row in wrong}
    right = classes(drawn.images) + Counter(row["right"] for row in wrong)
    right.subtract(row["label"] for row in wrong)
    assert right == dict.fromkeys(THINGS, 10)
    assert classes(drawn.unseen) == dict.fromkeys(THINGS, 2)


def test_drawn_images_are_photographs_of_many_sizes_and_none_twice(drawn):
    contents, sizes = [], []
    for path in drawn.path.rglob("*.jpg"):
        contents.append(path.read_bytes())
        with Image.open(path) as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")
            sizes.append(image.size)
    assert len(set(contents)) == 60
    assert len(set(sizes)) > 50
    assert 0 < sum(width == height for width, height in sizes) < 30


def test_a_seed_draws_the_same_folder(tmp_path):
    folders = [
        write_drawn_folder(tmp_path / str(place), seed, images=5, unseen=2)
        for place, seed in enumerate((3, 3, 4))
    ]
    first, again, other = (
        {path.relative_to(folder.path): path.read_bytes() for path in folder.path.rglob("*.jpg")}
        for folder in folders
    )
    assert len(first) == 7
    assert first == again
    assert not set(first.values()) & set(other.values())


def test_what_an_image_shows_is_all_that_its_class_changes():
    """The same draws around another thing: colours and background are no hint."""
    images = [np.asarray(draw_image(thing, np.random.default_rng(5)), int) for thing in ("cup", "fish")]
    corners = [image[:20, :20].mean(axis=(0, 1)) for image in images]
    assert corners[0] == pytest.approx(corners[1], abs=3)
    assert np.abs(images[0] - images[1]).max() > 50


def suspects(file: Path, names: list[str]) -> Path:
    write_csv(file, [["path", "label"], *([f"/somewhere/images/{name}", name[:3]] for name in names)])
    return file


def test_suspects_are_counted_from_the_first(tmp_path):
    names = [f"cup/{number}.jpg" for number in range(30)]
    # The first and third suspect are wrong, then the 20th, then the 25th; one never comes.
    wrong = {names[0], names[2], names[19], names[24], "fish/1.jpg"}
    found = score_suspects(suspects(tmp_path / "list.csv", names), wrong, 1.5)
    assert found == Found(seconds=1.5, wrong=5, among_first=3, recall=2 / 5)
    # The same number in another class is another image.
    assert score_suspects(suspects(tmp_path / "list.csv", names), {"fish/2.jpg"}, 1).among_first == 0


def test_an_answer_is_right_where_it_is_the_folders_name(tmp_path):
    rows = [["a/1.jpg", "a", "a"], ["a/2.jpg", "a", "b"], ["b/1.jpg", "b", "b"], ["b/2.jpg", "b", "b"]]
    write_csv(tmp_path / "answers.csv", [["path", "label", "answer"], *rows])
    assert accuracy_of(tmp_path / "answers.csv") == 0.75


def test_the_table_ends_in_means_and_deviations(capsys):
    found = [Found(50.0, 36, 20, 0.95), Found(60.0, 36, 17, 0.85)]
    trained = [Trained(100.0, 0.9), Trained(120.0, 0.96)]
    print_folders(
        [Measured(n, {"default": t}, f) for n, (t, f) in enumerate(zip(trained, found, strict=True))]
    )
    *_, last = capsys.readouterr().out.splitlines()
    # Two values differ by sqrt(2) times their standard deviation.
    assert last.split() == "mean 110.0 ± 14.1 93.0 ± 4.2 % 55.0 ± 7.1 18.5 ± 2.1 0.90 ± 0.07".split()


class Commands:
    """Stand in for the commands: hold their words to their parsers, and leave what they would."""

    def __init__(self) -> None:
        self.trained: list[list[str]] = []

    def __call__(self, *words: str | Path) -> float:
        command, *rest = map(str, words)
        if command == "train.py":
            self.trained.append(rest)
            assert Path(parse_training_request(rest).run_dir).parent.is_dir()
            return 90.0
        if command == "predict.py":
            request = parse_prediction_request(rest)
            paths = sorted(path for path in request.images[0].rglob("*") if path.is_file())
            rows = [[path, path.parent.name, path.parent.name if n else "?"] for n, path in enumerate(paths)]
            write_csv(request.csv, [["path", "label", "answer"], *rows])
            return 5.0
        request = parse_evaluation_request(rest[1:])
        assert request.cross_validate == 5
        request.out.mkdir(parents=True)
        wrong = sorted(ImageFolder(request.runs[0].path.parent).wrong_paths())
        suspects(request.out / "label_errors.csv", wrong[1:])
        return 30.0


@pytest.fixture
def commands(monkeypatch) -> Commands:
    commands = Commands()
    monkeypatch.setattr(own_images, "run_python", commands)
    return commands


@pytest.fixture
def run_benchmark(drawn, commands, monkeypatch):
    """Run the benchmark with copies of one folder; return what its last line tells."""

    def copy(path: Path, seed: int) -> ImageFolder:
        return ImageFolder(shutil.copytree(drawn.path, path))

    monkeypatch.setattr(own_images, "write_drawn_folder", copy)
    monkeypatch.setattr(own_images, "write_cifar_folder", copy)

    def run(*arguments: str) -> dict:
        outcome = run_command(own_images.main, *arguments)
        assert outcome.code == 0, outcome.error
        return json.loads(outcome.printed.splitlines()[-1])

    return run


def test_the_last_line_tells_all_figures(run_benchmark):
    told = run_benchmark("--folders", "2", "--recipe", "folder_scratch", "--epochs", "3")
    assert set(told) == {"benchmark", "settings", "folders", "environment", "finished"}
    assert told["settings"]["recipe"] == ["folder_scratch", "--epochs", "3"]
    assert [folder["seed"] for folder in told["folders"]] == [1, 2]
    for folder in told["folders"]:
        assert folder["trained"] == {"folder_scratch --epochs 3": {"seconds": 90.0, "accuracy": 0.9}}
        assert folder["found"] == {"seconds": 30.0, "wrong": 3, "among_first": 2, "recall": 2 / 3}
    assert told["environment"]["load_before"] >= 0


def test_cifar10_is_trained_from_scratch_in_the_same_minutes(run_benchmark, commands, tmp_path):
    told = run_benchmark("--cifar", "--folders", "1", "--keep", str(tmp_path / "kept"))
    assert list(told["folders"][0]["trained"]) == ["default", "scratch", "scratch, 32 px"]
    default, *scratch = commands.trained
    assert "--minutes" not in default
    assert [words[0] for words in scratch] == 2 * ["folder_scratch"]
    assert [words[words.index("--minutes") + 1] for words in scratch] == 2 * ["1.500"]
    assert (tmp_path / "kept" / "folder1" / "images").is_dir()


def test_a_place_that_is_not_new_is_refused(tmp_path):
    for main, words in ((own_images.main, ["--keep", tmp_path]), (image_folders.main, [tmp_path])):
        outcome = run_command(main, *words)
        assert (outcome.code, outcome.error.count("\n")) == (2, 1)
        assert f"must be new; received {tmp_path}" in outcome.error
