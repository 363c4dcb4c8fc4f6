"""run.py in a program of one's own, as a table, and at a camera."""

import csv
import sys
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from pipeline.prediction.answers import Wording
from tests.export.device.samples import IMAGES, LABELS, assert_one_complaint, main_of, parse


@pytest.fixture
def run(bundle) -> ModuleType:
    spec = spec_from_file_location("bundled_run", bundle / "run.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class FakeCapture:
    """A camera of OpenCV with frames, blue first; each is 0.4 s after the one before."""

    def __init__(self, source: int | str) -> None:
        self.frames = [image[..., ::-1] for image in IMAGES[:6]] if source in (0, "walk.mp4") else []
        self.place = -1

    def isOpened(self) -> bool:  # OpenCV's name
        return bool(self.frames)

    def grab(self) -> bool:
        self.place += 1
        return self.place < len(self.frames)

    def get(self, _: int) -> float:
        return 400.0 * self.place

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, self.frames[self.place]


@pytest.fixture
def with_opencv(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(VideoCapture=FakeCapture, CAP_PROP_POS_MSEC=0))


def test_files_images_and_pixels_are_answered_alike(run, bundle, images, capsys):
    classifier = run.Classifier("model_float32.tflite")
    assert classifier.names == LABELS
    assert main_of(bundle)(["--model", "model_float32.tflite", "--top", "5", str(images[3])]) == 0
    _, labels, chances = parse(capsys.readouterr().out)
    for image in (images[3], str(images[3]), Image.open(images[3]), IMAGES[3]):
        names, values = zip(*classifier.classify(image, top=5), strict=True)
        assert list(names) == labels[0]
        np.testing.assert_allclose(values, chances[0], atol=5e-5)  # printed with four decimals
    assert dict(classifier.classify(IMAGES[3], top=5)) == pytest.approx(
        dict(zip(LABELS, classifier.probabilities(IMAGES[3]).tolist(), strict=True))
    )


@pytest.mark.parametrize("mode", ["I;16", "LA", "RGBA"])
def test_an_image_of_16_bits_or_with_transparency_is_seen_as_its_file(mode, run, tmp_path):
    grey = IMAGES[3][..., 0]
    image = Image.fromarray(grey.astype(np.uint16) * 257 if mode == "I;16" else grey).convert(mode)
    if mode != "I;16":
        image.putalpha(Image.fromarray(IMAGES[4][..., 1]))
    image.save(tmp_path / "image.png")
    classifier = run.Classifier("model_float32.tflite")
    expected = classifier.probabilities(tmp_path / "image.png")
    np.testing.assert_array_equal(classifier.probabilities(image), expected)
    np.testing.assert_array_equal(classifier.probabilities(Image.open(tmp_path / "image.png")), expected)


def test_what_cannot_be_read_is_one_exception(run, tmp_path):
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    for path in (tmp_path / "cut.png", tmp_path / "missing.png", tmp_path):
        with pytest.raises(run.UnfitImage):
            run.Classifier().classify(path)


def test_an_image_without_pixels_gets_no_answer(run):
    classifier = run.Classifier()
    for nothing in (IMAGES[3][:0], IMAGES[3][:, :0], Image.new("RGB", (0, 4))):
        with pytest.raises(run.UnfitImage, match=r"^must have pixels$"):
            classifier.classify(nothing)


def test_a_table_has_the_columns_and_labels_of_predict(run, tmp_path, monkeypatch, capsys):
    for place in ("sea  lion/=1.png", "dogs/2.png"):
        (tmp_path / "photos" / place).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(IMAGES[0]).save(tmp_path / "photos" / place)
    monkeypatch.chdir(tmp_path / "photos/sea  lion")
    assert run.main(["=1.png", "..", "--top", "2", "--csv", "../../answers.csv"]) == 0
    assert capsys.readouterr() == ("3 answers are in ../../answers.csv\n", "")
    with (tmp_path / "answers.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    ranked = run.Classifier().classify(IMAGES[0], top=2)
    wording = Wording(tuple(LABELS), top=2, unsure=0)
    assert header == wording.header()
    assert rows == [
        wording.cells(path, label, ranked)
        for path, label in (("'=1.png", ""), ("../dogs/2.png", ""), ("../sea  lion/=1.png", "sea lion"))
    ]


def test_a_video_is_looked_at_in_its_own_seconds_and_red_stays_red(run, with_opencv, capsys):
    assert run.main(["--camera", "walk.mp4", "--every", "0.7"]) == 0
    times, labels, _ = parse(capsys.readouterr().out)
    assert times == ["0.000", "0.800", "1.600"]
    assert [row[0] for row in labels] == [run.Classifier().classify(IMAGES[i])[0][0] for i in (0, 2, 4)]


def test_a_camera_that_is_unplugged_is_told(run, with_opencv, capsys):
    assert run.main(["--camera", "--every", "0"]) == 1
    printed, said = capsys.readouterr()
    assert printed.count("\n") == 6
    assert said == "error: camera 0 gives no more frames\n"


def test_picamera2_goes_first(run, with_opencv, monkeypatch):
    given = []
    camera = SimpleNamespace(
        create_video_configuration=lambda main: main,
        configure=given.append,
        start=lambda: given.append("started"),
        capture_array=lambda _: IMAGES[2],
    )
    monkeypatch.setitem(sys.modules, "picamera2", SimpleNamespace(Picamera2=lambda: camera))
    _, pixels = next(run.watch("", 0))
    assert given == [{"format": "BGR888"}, "started"]
    np.testing.assert_array_equal(pixels, IMAGES[2])


@pytest.mark.parametrize(
    ("arguments", "about"),
    [
        (["--camera", "7"], "received 7"),
        (["--camera", "0", "x.png"], "either IMAGE_OR_FOLDER or --camera"),
        (["--camera", "0", "--csv", "a.csv"], "without --camera"),
        (["--camera", "0", "--every", "-1"], "--every must be at least 0 and finite; received -1.0"),
        (["x.png", "--csv", "/"], "--csv must be a new file"),
        (["x.png", "--csv", "/missing/a.csv"], "a folder that can be written to"),
    ],
)
def test_wrong_arguments_take_one_line(arguments, about, run, with_opencv, capfd):
    assert_one_complaint(run.main(arguments), *capfd.readouterr(), about)


def test_without_a_way_to_a_camera_one_line_says_so(run, monkeypatch, capfd):
    for name in ("cv2", "picamera2"):
        monkeypatch.setitem(sys.modules, name, None)
    assert_one_complaint(run.main(["--camera"]), *capfd.readouterr(), "needs OpenCV")
