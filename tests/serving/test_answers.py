"""What the page shows is what `predict.py` prints, with where the Keras network looks."""

import base64
import csv
import io
import json
import resource
import shutil

import numpy as np
import pytest
from PIL import Image

import predict
from evaluation.explain.gradcam import GradCAM, overlay
from pipeline.data.folders.check import NO_IMAGE
from pipeline.errors import UserError
from pipeline.prediction.model_file import find_export, find_model
from serving.answers import build_answer, load_networks
from tests.commands import run_command
from tests.encodings import ENCODED, enormous
from tests.prediction_samples import digits


@pytest.fixture(scope="module")
def answer(networks):
    return build_answer(networks, 3, 0.9)


def pixels_of(uri: str) -> np.ndarray:
    kind, _, content = uri.partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def test_it_is_what_predict_prints_of_the_same_file(answer, exported_run, digit_folder, tmp_path):
    for name in ("RGB plain.jpg", "16-bit grey.png", "RGBA.png", "P.gif"):
        (tmp_path / name).write_bytes(ENCODED[name])
    shutil.copy(next((digit_folder / "4").iterdir()), tmp_path / "four.png")
    for place, model in enumerate((exported_run, exported_run / "export")):
        printed = run_command(predict.main, model, tmp_path, "--unsure", 0.9).printed
        rows = list(csv.DictReader(io.StringIO(printed)))
        assert len(rows) == 5
        for row in rows:
            with open(row["path"], "rb") as file:
                found = json.loads(answer(file.read()).content)["networks"][place]
            assert found["name"] == ("keras", "int8")[place]
            assert found["answer"] == row["answer"]
            classes = found["classes"]
            assert [c["name"] for c in classes] == [row[f"class_{k}"] for k in (1, 2, 3)]
            printed_ones = [float(row[f"probability_{k}"]) for k in (1, 2, 3)]
            # Printed with four decimals, and of a batch that may be computed in another order.
            np.testing.assert_allclose([c["probability"] for c in classes], printed_ones, atol=5.1e-5)
            assert found["milliseconds"] > 0


def test_what_is_seen_and_where_keras_looks_are_shown(answer, networks):
    image = digits()[0][7]
    content = io.BytesIO()
    Image.fromarray(image).save(content, "png")
    found = json.loads(answer(content.getvalue()).content)
    np.testing.assert_array_equal(pixels_of(found["seen"]), image)
    keras, int8 = (network["classes"] for network in found["networks"])
    assert [c["evidence"] for c in int8] == [None] * 3
    explain = GradCAM(networks[0].classifier.network).maps
    for described in keras:
        expected = overlay(image[None], explain(image[None], np.array([int(described["name"])])))[0]
        np.testing.assert_array_equal(pixels_of(described["evidence"]), expected)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty file"),
        (b"no image", NO_IMAGE),
        (ENCODED["RGBA.png"][:100], "truncated or damaged"),
        (enormous("png"), "20,000 x 20,000 pixels are more than 178,956,970"),
    ],
    ids=["empty", "text", "truncated", "enormous"],
)
def test_what_is_no_image_is_refused(answer, content, problem):
    with pytest.raises(UserError, match=f"^an image must be readable; {problem}"):
        answer(content)


def test_no_image_reaches_a_disk(answer):
    content = io.BytesIO()
    Image.fromarray(np.zeros((1000, 1000, 3), np.uint8)).save(content, "bmp")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        answer(content.getvalue())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_only_an_export_of_the_run_is_put_beside_it(exported_run, digits_run, tmp_path):
    run = shutil.copytree(exported_run, tmp_path / "run")
    (run / "export" / "labels.txt").write_text("".join(f"digit {k}\n" for k in range(10)))
    models = [find_model(str(run)), find_export(str(run))]
    with pytest.raises(UserError, match="an export must be of the run that it lies in; "):
        load_networks(models)
    # As the message says.
    by_itself = str(run / "model.keras")
    assert find_export(by_itself) is None
    assert load_networks([find_model(by_itself)])[0].name == "keras"
    assert find_export(str(digits_run)) is None
    assert find_export(str(run / "export")) is None
