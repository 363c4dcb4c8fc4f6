"""A folder that is there is a source of images by its name alone; what has two meanings is refused."""

from pathlib import Path

import pytest

from pipeline.console.training_request import parse_training_request
from pipeline.errors import UserError
from tuning.request import parse_tuning_request

FILES = (
    *("pets/cat/1.jpg", "pets/dog/1.PNG", "My Pets/cat/1.jpg", "sets/pets/cat/1.jpg"),
    *("digits/3/1.png", "digits/7/1.png", "cifar100/train/cat/1.jpg", "cifar100/test/cat/1.jpg"),
    # A run of that name, a prepared set, and a folder with its images loose.
    *("cifar10/config.json", "cifar10/plots/1.png", "cifar10/export/files.png"),
    *("imagenette/160px-v2/1.0.0/dataset_info.json", "flowers/1.0.0/dataset_info.json", "beans/1.jpg"),
)


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in FILES:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


@pytest.mark.parametrize(
    ("arguments", "data", "preset"),
    [
        (["pets"], "folder:pets", "folder"),
        (["pets/"], "folder:pets", "folder"),
        (["pets", "--model", "resnet18"], "folder:pets", "folder_scratch"),
        (["My Pets"], "folder:My Pets", "folder"),
        (["~/pets"], "folder:~/pets", "folder"),
        (["./digits"], "folder:./digits", "folder"),
        (["/"], "folder:/", "folder"),
        (["beans"], "folder:beans", "folder"),
        (["cifar10"], "cifar10", "cifar10"),
        (["digits", "--data", "pets"], "folder:pets", "digits"),
        (["--data", "pets"], "folder:pets", "folder"),
        (["--data", "sets/pets/"], "folder:sets/pets", "folder"),
        (["--data", "./cifar100"], "folder:./cifar100", "folder"),
        (["--data", "folder:digits"], "folder:digits", "folder"),
        (["--data", "cifar10"], "cifar10", "cifar10"),
        (["--data", "cifar100:3.0.2"], "cifar100:3.0.2", "cifar100"),
        (["--data", "imagenette/160px-v2"], "imagenette/160px-v2", "imagenette"),
        (["--data", "flowers"], "flowers", "cifar10"),
        (["--data", "mnist"], "mnist", "cifar10"),
    ],
)
def test_a_folder_that_is_there_goes_by_its_name(arguments, data, preset):
    chosen = parse_training_request(arguments).chosen
    assert (chosen.explicit_values()["data"], chosen.preset_name()) == (data, preset)


def test_a_search_takes_a_folder_as_training_does():
    request = parse_tuning_request(["pets", "--model", "resnet8", "--max-trials", "2"])
    assert request.plan.config.data.data == "folder:pets"
    assert request.out == Path("runs/tuning-folder_scratch-bayesian")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digits"], "received 'digits', a preset and a folder of images here (./digits is the folder"),
        (["--data", "digits"], "received 'digits', a set and a folder of images here (./digits is"),
        (["--data", "cifar100"], "received 'cifar100', a set and a folder of images here"),
        (["pets", "--data", "digits:1"], "one source of images; received pets and --data digits:1"),
        (["dogs/"], "a folder of images must be there; received 'dogs/'"),
        (["dogs"], "unknown preset or folder 'dogs'; "),
    ],
)
def test_what_has_two_meanings_or_none_is_refused(arguments, message):
    with pytest.raises(UserError) as refused:
        parse_training_request(arguments)
    assert message in str(refused.value)
