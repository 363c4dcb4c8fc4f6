"""Classify images with a network of this folder: python run.py IMAGE_OR_FOLDER ...

Needs a 64-bit system, the files beside it and `pip install ai-edge-litert numpy pillow`, nothing else; for
an .onnx file onnxruntime in place of ai-edge-litert, for --camera OpenCV or picamera2 too. In a program:

    from run import Classifier

    classifier = Classifier()
    for name, probability in classifier.classify("photo.jpg", top=3):
        print(name, probability)

To port it, follow the five steps, which preprocessing.json has in words:

    decode -> resize -> encode -> run the network -> probabilities
"""

import argparse
import contextlib
import csv
import importlib
import json
import os
import re
import signal
import struct
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

try:
    import numpy as np
    from PIL import Image, UnidentifiedImageError
except ImportError as missing:
    if __name__ != "__main__":
        raise
    print(f"error: {missing}; pip install ai-edge-litert numpy pillow", file=sys.stderr)
    sys.exit(2)

FOLDER = Path(__file__).resolve().parent
BEGINNINGS = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8|BM|RIFF....WEBP|(II[*+]\0|MM\0[*+])(?!....CR)", re.DOTALL
)
KINDS = "a JPEG, PNG, GIF, BMP, WebP or TIFF image"
TIFF_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "I;16", "I;16B")
FORMULA = re.compile(  # what a spreadsheet would run; a number stays one
    r"(?![+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?$)'*[=+@\t\r\n\uff1d\uff0b\uff0d\uff20-]",
    re.IGNORECASE,
)
MAX_PIXELS = 178_956_970  # half a GiB of RGB: nothing larger is decoded, and training had the same limit
Image.MAX_IMAGE_PIXELS = None
TURNS = {  # EXIF orientation -> what undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnfitImage(Exception):
    """The image cannot be read, or is not one that training would have taken; the message is one line."""


class UsageError(Exception):
    """The command line or this folder is wrong; the message is one line."""


class CameraEnded(Exception):
    """A camera gives no more frames; the message is one line."""


def decode(path: Path, upright: bool) -> Image.Image:
    """Decode an image, of several in a file the first, to 8-bit RGB; turn it as its EXIF data say, or not."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UnfitImage("must be a regular file")  # a pipe might never begin
    with path.open("rb") as file:
        head = file.read(25)
    if not BEGINNINGS.match(head):
        raise UnfitImage(f"must be {KINDS}")
    with Image.open(path, formats=("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")) as image:
        if image.width * image.height > MAX_PIXELS:
            raise UnfitImage(f"{image.width:,} x {image.height:,} pixels are more than {MAX_PIXELS:,}")
        if image.format == "TIFF":
            verify_tiff(image)
        # A TIFF has no such data: Pillow turns it by its own tag.
        turn = TURNS.get(orientation(image.info.get("exif", b""))) if upright else None
        rgb = image.convert("RGB") if image.format == "JPEG" else to_rgb(image, bits=head[24])
        return rgb if turn is None else rgb.transpose(turn)


def verify_tiff(image: Image.Image) -> None:
    """Refuse the preview in a camera's raw file, and samples of more than 16 bits."""
    tags = image.tag_v2  # type: ignore[attr-defined]  # of a TIFF
    # The version of a DNG; a reduced image of another; linear raw samples.
    if 50706 in tags or tags.get(254, 0) & 1 or tags.get(262) == 34892:
        raise UnfitImage("a camera's raw file must be developed first")
    if image.mode not in TIFF_MODES:
        raise UnfitImage(f"a TIFF must have up to 16 bits a sample, grey, RGB or CMYK; received {image.mode}")


def orientation(exif: bytes) -> int:
    """Find tag 0x0112 in the first directory of EXIF data, laid out as in a TIFF file; 1 is upright."""
    data = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    with contextlib.suppress(struct.error):  # of damaged data
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (entries,) = struct.unpack_from(f"{order}H", data, start)
        for entry in range(entries):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", data, start + 2 + 12 * entry)
            if tag == 0x0112:
                return value if kind == 3 else 1
    return 1


def to_rgb(image: Image.Image, bits: int) -> Image.Image:
    """Composite over white; of a PNG's 16 bits a sample the high byte is kept."""
    hidden = image.info.get("transparency")
    if image.mode.startswith("I"):  # grey of 16 bits: Pillow itself would cut off all above 255
        samples = np.asarray(image)
        shown = samples >> 8 if hidden is None else np.where(samples == hidden, 255, samples >> 8)
        return Image.fromarray(shown.astype(np.uint8)).convert("RGB")
    if hidden is not None and image.format == "PNG":
        # A colour stands for transparent in the file's own bits, which Pillow compares with 8.
        if image.mode in ("1", "L") and bits < 8:
            image = image.convert("L")
            image.info["transparency"] = hidden * (255 // (2**bits - 1))
        elif image.mode == "RGB" and bits == 16:
            image.info["transparency"] = tuple(sample >> 8 for sample in hidden)
    if image.mode in ("RGB", "L", "CMYK", "YCbCr", "RGBX") and "transparency" not in image.info:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    if image.format == "BMP" and not np.asarray(rgba)[..., 3].any():
        return rgba.convert("RGB")  # the fourth byte is unused, or nothing would be seen
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")


def fit(image: Image.Image, height: int, width: int, how: dict[str, Any]) -> np.ndarray:
    """Make an image what the network sees, as `image` in preprocessing.json says; uint8 [height, width, 3].

    squash: all of it, whatever its shape. crop: the square in its middle, a share of the shorter side.
    pad: all of it in the middle of a border.
    """
    if how["resize"] == "crop":
        side = max(int(min(image.size) * how["crop_share"] + 0.5), 1)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    if how["resize"] != "pad":
        return resize(image, height, width)
    longer = max(image.size)
    inner = [max((2 * height * extent + longer) // (2 * longer), 1) for extent in image.size]
    canvas = Image.new("RGB", (width, height), (how["border"],) * 3)
    corner = ((height - inner[0]) // 2, (height - inner[1]) // 2)
    canvas.paste(Image.fromarray(resize(image, inner[1], inner[0])), corner)
    return np.asarray(canvas)


def resize(image: Image.Image, height: int, width: int) -> np.ndarray:
    """Resize an image, whatever its shape; uint8 [height, width, 3].

    When it shrinks, Pillow averages over all the pixels that fall into one (antialiasing), and so
    did training. Bilinear resizing that always looks at 2 x 2 pixels will not do.
    """
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def encode(pixels: np.ndarray, takes: dict[str, Any]) -> np.ndarray:
    """Turn pixels in [0, 255] into what the input takes: round(pixel / scale) + zero_point.

    With int8, scale 1 and zero_point -128 that is pixel - 128. A float input takes the pixel.
    """
    if takes["scale"] is None:
        return pixels.astype(takes["dtype"])
    levels = np.rint(pixels / np.float32(takes["scale"])) + takes["zero_point"]
    limits = np.iinfo(takes["dtype"])
    return np.clip(levels, limits.min, limits.max).astype(takes["dtype"])


def probabilities(values: np.ndarray, gives: dict[str, Any]) -> np.ndarray:
    """Turn what the output gives, [classes], into probabilities, float32.

    score = (value - zero_point) * scale; probability_i = exp(score_i) / sum_j exp(score_j).
    """
    scores = values.astype(np.float32)
    if gives["scale"] is not None:
        scores = (scores - gives["zero_point"]) * np.float32(gives["scale"])
    if gives["scores"] == "probabilities":
        return scores
    powers = np.exp(scores - scores.max())  # the shift cancels out, and nothing overflows
    return powers / powers.sum()


Run = Callable[[np.ndarray], np.ndarray]
"""From what the input takes, [1, height, width, 3], to what the output gives, [1, classes]."""


def open_tflite(content: bytes, threads: int) -> tuple[Run, dict[str, Any], dict[str, Any]]:
    """Load a TFLite file: what runs it, and `shape`, `dtype` and `quantization` of its input and output."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    (takes,) = interpreter.get_input_details()
    (gives,) = interpreter.get_output_details()

    def run(batch: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(takes["index"], batch)
        interpreter.invoke()
        return interpreter.get_tensor(gives["index"])

    return run, takes, gives


def open_onnx(content: bytes, threads: int) -> tuple[Run, dict[str, Any], dict[str, Any]]:
    """Load an ONNX file, which takes and gives float32, as `open_tflite` does."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    ends = (*session.get_inputs(), *session.get_outputs())
    takes, gives = ({"shape": [1, *e.shape[1:]], "dtype": "float32", "quantization": (0, 0)} for e in ends)
    return lambda batch: session.run(None, {ends[0].name: batch})[0], takes, gives


class Network:
    """A TFLite or ONNX file and what preprocessing.json says of images, and of its input and output."""

    def __init__(self, path: Path, description: dict[str, Any], image: dict[str, Any], threads: int) -> None:
        _check_regular(path)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UsageError(f"the model must be readable; {path}: {error.strerror}") from None
        if (found := f"0x{zlib.crc32(content):08x}") != description["crc32"]:
            raise UsageError(
                f"the model must be as it was exported, with the CRC-32 {description['crc32']!r} of "
                f"preprocessing.json; {path} has {found}"
            )
        load = open_onnx if path.suffix == ".onnx" else open_tflite
        try:
            with _hold_back_notices():
                self._run, self._input, self._output = load(content, threads)
        except ImportError as missing:
            package = "onnxruntime" if load is open_onnx else "ai-edge-litert"
            bits = "" if sys.maxsize > 2**32 else f"; {package} is for 64-bit systems, and this Python has 32"
            raise UsageError(f"{missing}; pip install {package} numpy pillow{bits}") from None
        except Exception:
            raise UsageError(f"the model must be a readable TFLite or ONNX file; received {path}") from None
        self.image = image
        if not (self._fits(description) and _is_known(image)):
            raise UsageError(f"preprocessing.json must describe the model; it does not fit {path}")
        self._takes, self._gives = description["input"], description["output"]
        self.classes = int(self._output["shape"][-1])

    def _fits(self, description: dict[str, Any]) -> bool:
        """Tell whether the file is the one described: another scale gives wrong classes unseen."""
        takes, gives = description["input"], description["output"]
        return (
            list(self._input["shape"]) == [1, takes["height"], takes["width"], 3]
            and (takes["channels"], takes["layout"]) == ("RGB", "NHWC")
            and gives["scores"] in ("logits", "probabilities")
            and _numbers(self._input) == (takes["dtype"], takes["scale"], takes["zero_point"])
            and _numbers(self._output) == (gives["dtype"], gives["scale"], gives["zero_point"])
        )

    def classify(self, image: Image.Image) -> np.ndarray:
        """Return the probability of each class, float32 [classes]; the image is RGB."""
        pixels = fit(image, self._takes["height"], self._takes["width"], self.image)
        batch = encode(pixels, self._takes)[np.newaxis]
        return probabilities(self._run(batch)[0], self._gives)


def _is_known(image: dict[str, Any]) -> bool:
    share, border = image["crop_share"], image["border"]
    return (
        isinstance(image["exif_orientation"], bool)
        and image["resize"] in ("squash", "crop", "pad")
        and 0 < share <= 1
        and border in range(256)
    )


def _numbers(tensor: dict[str, Any]) -> tuple[str, float | None, int | None]:
    scale, zero_point = tensor["quantization"]  # of a float tensor 0 and 0
    quantised = (scale, zero_point) if scale else (None, None)
    return np.dtype(tensor["dtype"]).name, *quantised


@contextlib.contextmanager
def _hold_back_notices() -> Iterator[None]:
    """Keep what LiteRT's native code reports of its set-up off stderr, which is for errors."""
    stderr = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


class Classifier:
    """A network of this folder with the names of its classes; to be asked by one thread at a time.

    Attributes:
        names: of the classes, in the order of the probabilities.
    """

    def __init__(self, model: str | None = None, threads: int = 1) -> None:
        """Load a network.

        Args:
            model: file of this folder, or path to it; None: the int8 one if there is one.
            threads: to compute with.

        Raises:
            UsageError: this folder is damaged, or has no such model.
        """
        self._network, self.names = load_network(model, threads)

    def classify(self, image: str | Path | Image.Image | np.ndarray, top: int = 1) -> list[tuple[str, float]]:
        """Name the most probable classes with their probabilities, the best first.

        Args:
            image: a file, an image of Pillow, or RGB pixels, uint8 [height, width, 3] of any size.
            top: how many classes.

        Raises:
            UnfitImage: the file cannot be read, or the image has no pixels.
        """
        chances = self.probabilities(image)
        best = np.argsort(-chances, kind="stable")[:top]
        return [(self.names[label], float(chances[label])) for label in best]

    def probabilities(self, image: str | Path | Image.Image | np.ndarray) -> np.ndarray:
        """Return the probability of each class, float32 [classes]; `image` as in `classify`."""
        if isinstance(image, str | Path):
            image = self._read(Path(image))
        elif isinstance(image, np.ndarray):
            image = Image.fromarray(np.ascontiguousarray(image))
        if 0 in image.size:  # of a cut beside the frame, say: Pillow would make it black
            raise UnfitImage("must have pixels")
        return self._network.classify(to_rgb(image, bits=8))

    def _read(self, path: Path) -> Image.Image:
        try:
            return decode(path, self._network.image["exif_orientation"])
        except Exception as error:  # of damaged files Pillow raises nearly every kind
            raise UnfitImage(explain(error)) from error


def load_network(asked: str | None, threads: int) -> tuple[Network, list[str]]:
    """Load the network asked for, or else the default one, and the names of its classes."""
    try:
        labels = _read("labels.txt").removesuffix("\n").split("\n")
        description = json.loads(_read("preprocessing.json"))
        models = description["models"]
        path = _choose(asked, models)
        network = Network(path, models[path.name], description["image"], threads)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        found = f"{type(error).__name__} {error}"
        raise UsageError(f"labels.txt and preprocessing.json must be whole; {found}") from None
    if len(labels) != network.classes:
        raise UsageError(f"labels.txt must have {network.classes} lines; received {len(labels)}")
    return network, labels


def _read(name: str) -> str:
    _check_regular(FOLDER / name)
    return (FOLDER / name).read_text("utf-8")


def _check_regular(path: Path) -> None:
    """Refuse a pipe, which might never begin, and whatever else is no file."""
    if path.exists() and not path.is_file():
        raise UsageError(f"{path.name} must be a regular file")


def _choose(asked: str | None, models: dict[str, Any]) -> Path:
    """Return the file asked for, of this folder or by its path; else the int8 one or the first."""
    int8 = [name for name in models if models[name]["input"]["dtype"] in ("int8", "uint8")]
    name = [*int8, *models][0] if asked is None else asked
    if Path(name).name not in models:
        raise UsageError(f"--model must be one of {', '.join(models)}; received {name}")
    return FOLDER / name if (FOLDER / name).is_file() else Path(name)


def find_images(path: Path) -> tuple[list[Path], list[Path]]:
    """Find the images at any depth below a folder, by their first bytes, without hidden files.

    Returns:
        The images, sorted, and the files that are passed over. What is no folder counts as an
        image; so does a folder that is unreadable or has none, so that it is reported.
    """
    if not path.is_dir():
        return [path], []
    found: list[Path] = []
    others: list[Path] = []
    unreadable: list[OSError] = []
    for parent, folders, names in os.walk(path, onerror=unreadable.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for file in (Path(parent, name) for name in names if not name.startswith(".")):
            (found if looks_like_image(file) else others).append(file)
    found += [Path(error.filename) for error in unreadable]
    return sorted(found) or [path], sorted(others)


def looks_like_image(path: Path) -> bool:
    """Tell by its first bytes; a file that cannot be read may be one."""
    if not path.is_file():
        return False  # opening a pipe would wait for a writer
    try:
        with path.open("rb") as file:
            return BEGINNINGS.match(file.read(25)) is not None
    except OSError:
        return True


def printable(path: Path) -> str:
    """Return a path for stderr, escaped where a terminal would act on it."""
    return str(path) if str(path).isprintable() else ascii(str(path))


def in_a_line(name: str) -> str:
    """Return a name for stdout: as it is, but for controls, which a terminal obeys or which part a line."""
    return "".join(ascii(c)[1:-1] if c < " " or "\x7f" <= c < "\xa0" else c for c in name)


def explain(error: Exception) -> str:
    """Say in one line why an image could not be decoded."""
    if isinstance(error, UnfitImage):
        return str(error)
    if isinstance(error, IsADirectoryError):
        return f"a folder must hold {KINDS}"
    if isinstance(error, UnidentifiedImageError):
        return f"must be {KINDS}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "damaged; " + str(error).partition("\n")[0]


def _announce(images: list[Path], others: list[Path]) -> list[Path]:
    """Return the images; say on stderr what else there is, without counting it as a failure."""
    if others:
        names = ", ".join(map(printable, others[:3])) + (", ..." if len(others) > 3 else "")
        count = f"{len(others)} file" + "s" * (len(others) > 1)
        print(f"passed over {count}, none of them {KINDS}: {names}", file=sys.stderr)
    return images


def watch(source: str, every: float) -> Iterator[tuple[str, np.ndarray]]:
    """Look through a camera, at most once in `every` seconds.

    Args:
        source: empty: picamera2 where it is installed, else OpenCV's camera 0; the number of a camera
            of OpenCV; or a video file, whose own seconds count.
        every: seconds from one look to the next; 0: each frame.

    Yields:
        When, and RGB pixels, uint8 [height, width, 3].

    Raises:
        UsageError: there is no such camera, or nothing to read it with.
        CameraEnded: a camera was unplugged.
    """
    if not source and (picamera2 := _module("picamera2")):
        return _watch_picamera(picamera2, every)
    if cv2 := _module("cv2"):
        return _watch_opencv(cv2, source or "0", every)
    raise UsageError("--camera needs OpenCV, pip install opencv-python-headless, or picamera2")


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _watch_picamera(picamera2: Any, every: float) -> Iterator[tuple[str, np.ndarray]]:
    try:
        camera = picamera2.Picamera2()
    except (IndexError, RuntimeError) as error:
        raise UsageError(f"--camera must find a camera; picamera2 says {error}") from None
    # What picamera2 calls BGR888 lies in memory as R, G, B.
    camera.configure(camera.create_video_configuration(main={"format": "BGR888"}))
    camera.start()
    while True:
        yield time.strftime("%Y-%m-%dT%H:%M:%S"), camera.capture_array("main")
        time.sleep(every)


def _watch_opencv(cv2: Any, source: str, every: float) -> Iterator[tuple[str, np.ndarray]]:
    is_file = not source.isdigit()
    with _hold_back_notices():
        camera = cv2.VideoCapture(source if is_file else int(source))
    if not camera.isOpened():
        raise UsageError(f"--camera must be the number of a camera, or a video file; received {source}")
    due = 0.0
    while camera.grab():  # frames between two looks too, lest the next be an old one
        now = camera.get(cv2.CAP_PROP_POS_MSEC) / 1000 if is_file else time.monotonic()
        if now < due:
            continue
        due = now + every
        whole, frame = camera.retrieve()
        if whole:
            when = f"{now:.3f}" if is_file else time.strftime("%Y-%m-%dT%H:%M:%S")
            yield when, frame[..., ::-1]  # OpenCV has blue first
    if not is_file:
        raise CameraEnded(f"camera {source} gives no more frames")


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose complaints take one line."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would have printed with the usage."""
        raise UsageError(f"{message}; see --help")


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(
        description="Classify images: prints path, label and probability, separated by tabs.",
        epilog="Exit code 1: an image could not be read; 2: wrong arguments or a damaged folder.",
        allow_abbrev=False,
    )
    parser.add_argument("images", nargs="*", type=Path, metavar="IMAGE_OR_FOLDER")
    parser.add_argument("--model", metavar="FILE", help="default: the int8 file if there is one")
    parser.add_argument("--top", type=int, default=1, metavar="K", help="labels an image")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="to compute with")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a table there, in place of printing")
    parser.add_argument(
        "--camera",
        nargs="?",
        const="",
        metavar="SOURCE",
        help="look through a camera (its number) or at a video file; prints time, label and probability",
    )
    parser.add_argument(
        "--every", type=float, default=1.0, metavar="SECONDS", help="between looks of --camera (1)"
    )
    options = parser.parse_args(arguments)
    if bool(options.images) == (options.camera is not None):
        raise UsageError("either IMAGE_OR_FOLDER or --camera must be given; see --help")
    if not 1 <= options.threads <= 256:
        raise UsageError(f"--threads must be from 1 to 256; received {options.threads}")
    if not 0 <= options.every < float("inf"):
        raise UsageError(f"--every must be at least 0 and finite; received {options.every}")
    if options.csv and options.camera is not None:
        raise UsageError(f"--csv must stand without --camera; received --csv {options.csv}")
    if options.csv and os.path.lexists(options.csv):
        raise UsageError(f"--csv must be a new file; received {options.csv}, which is there")
    if options.csv and not os.access(options.csv.parent, os.W_OK):
        raise UsageError(f"--csv must be in a folder that can be written to; received {options.csv}")
    return options


def main(arguments: list[str]) -> int:
    """Classify; return the exit code."""
    try:
        options = parse(arguments)
        classifier = Classifier(options.model, options.threads)
        if not 1 <= options.top <= len(classifier.names):
            raise UsageError(f"--top must be from 1 to {len(classifier.names)}; received {options.top}")
        if options.camera is not None:
            return answer_camera(classifier, options)
        return answer_to_csv(classifier, options) if options.csv else answer(classifier, options)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def answer(classifier: Classifier, options: argparse.Namespace) -> int:
    """Print a line an image; return the exit code."""
    failed = 0
    for _, path, best in _answers(classifier, options):
        failed |= not best
        if best:
            _print(str(path), best)
    return failed


def answer_to_csv(classifier: Classifier, options: argparse.Namespace) -> int:
    """Write a row an image, whole or not at all; the columns are those of `predict.py --csv`.

    path, label (the folder below the one that was given, where it is called as a class), answer, class_1,
    probability_1, ...; text that a spreadsheet would run has an apostrophe before it.
    """
    failed = 0
    places = range(1, options.top + 1)
    columns = [f"{what}_{place}" for place in places for what in ("class", "probability")]
    rows = [["path", "label", "answer", *columns]]
    for given, path, best in _answers(classifier, options):
        failed |= not best
        if best:
            values = [cell for name, chance in best for cell in (name, f"{chance:.4f}")]
            rows.append([str(path), _label(given, path, classifier.names), best[0][0], *values])
    aside = options.csv.with_name(f".{options.csv.name}.part")
    try:
        with aside.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            csv.writer(file).writerows([_as_text(cell) for cell in row] for row in rows)
        aside.replace(options.csv)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise UsageError(f"--csv must be writable; {options.csv}: {error.strerror}") from None
    print(f"{len(rows) - 1:,} answers are in {options.csv}")
    return failed


def answer_camera(classifier: Classifier, options: argparse.Namespace) -> int:
    """Print a line a look; return the exit code, 0 at a video's end and 1 where a camera was unplugged."""
    try:
        for when, pixels in watch(options.camera, options.every):
            _print(when, classifier.classify(pixels, options.top))
    except CameraEnded as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _answers(
    classifier: Classifier, options: argparse.Namespace
) -> Iterator[tuple[Path, Path, list[tuple[str, float]]]]:
    """Yield what was given, each image of it, and its best classes; none where it cannot be read."""
    for given in options.images:
        for path in _announce(*find_images(given)):
            try:
                best = classifier.classify(path, options.top)
            except UnfitImage as error:
                print(f"error: {printable(path)}: {error}", file=sys.stderr)
                best = []
            yield given, path, best


def _print(first: str, best: list[tuple[str, float]]) -> None:
    answers = (f"{in_a_line(name)}\t{chance:.4f}" for name, chance in best)
    print(in_a_line(first), *answers, sep="\t", flush=True)


def _label(given: Path, path: Path, names: list[str]) -> str:
    """Return the folder below `given` where it is called as a class, else nothing."""
    folder = " ".join(path.relative_to(given).parts[0].split()) if path != given else ""
    return folder if folder in names else ""


def _as_text(cell: str) -> str:
    return f"'{cell}" if FORMULA.match(cell) else cell


if __name__ == "__main__":
    for ending in (signal.SIGINT, getattr(signal, "SIGPIPE", signal.SIGINT)):
        signal.signal(ending, signal.SIG_DFL)  # Ctrl-C and `| head` end it as any Unix tool
    warnings.simplefilter("ignore")  # of Pillow, about images that it decodes all the same
    for number in range(3):  # what was closed leads nowhere, lest a file that is opened take its place
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    sys.stdout.reconfigure(  # type: ignore[union-attr]  # the interpreter's own, a TextIOWrapper
        encoding="utf-8", errors="surrogateescape", line_buffering=True
    )
    try:
        sys.exit(main(sys.argv[1:]))
    except OSError as full:
        print(f"error: the output cannot be written; {full.strerror}", file=sys.stderr)
        os._exit(2)  # sys.exit would try again to write it
