"""The clients of a bundle, each asked for the golden images: scores, and milliseconds.

Every function runs in a process of its own, and imports there what it needs.
"""

import contextlib
import functools
import http.client
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.console.quiet_start import load_tensorflow_quietly
from pipeline.tflite.interpreter import Interpreter
from pipeline.tflite.latency import time_runs

ROOT = Path(__file__).parents[1]
QUIET = subprocess.DEVNULL

SECONDS = 0.5
"""Least time that a client is timed for, of one image after the other."""

START_SECONDS = 120
"""That a browser or a server may take to its first answer; a build of TensorFlow Lite Micro's proof too."""


class NotInstalled(Exception):
    """The client is not on this machine; the message says what is missing."""


class Refused(Exception):
    """The client does not take the file; the message is the client's."""


@dataclass(frozen=True)
class Answers:
    """What a client answered.

    Attributes:
        unit: what `off` counts: `levels` of an integer output, `score`, or `probability`.
        off: the greatest difference from LiteRT's reference kernels over all golden images.
        agrees: whether the most probable class of each image is theirs.
        milliseconds: of single images, in the order they were asked; None where it tells no times.
    """

    unit: str
    off: float
    agrees: bool
    milliseconds: list[float] | None


def golden_images(bundle: Path) -> list[Path]:
    """Name the golden images, in order."""
    return sorted((bundle / "golden").glob("input_*.png"), key=lambda path: int(path.stem[6:]))


def pixels(bundle: Path) -> np.ndarray:
    """Read the golden images, uint8 [images, height, width, 3]."""
    return np.stack([np.asarray(Image.open(path)) for path in golden_images(bundle)])


@functools.cache
def reference(path: Path) -> Interpreter:
    """Load a .tflite file with LiteRT's reference kernels."""
    return Interpreter(path.read_bytes(), reference=True)


def float_file(bundle: Path) -> Path:
    """Choose the file that what is no .tflite file is held to: the float32 one, else golden's."""
    described = json.loads((bundle / "golden/golden.json").read_text())
    float32 = bundle / "model_float32.tflite"
    return float32 if float32.exists() else bundle / described["model"]["file"]


def compare_levels(path: Path, images: np.ndarray, run: Callable[[np.ndarray], np.ndarray]) -> Answers:
    """Ask a client of a .tflite file, which takes and gives what the file does.

    Args:
        path: the file.
        images: uint8 [images, height, width, 3].
        run: input tensor [1, height, width, 3] -> output tensor [1, classes].
    """
    model = reference(path)
    inputs = [model.encode(image[None]) for image in images]
    received = np.concatenate([run(values) for values in inputs])
    expected = np.concatenate([model.run(values) for values in inputs])
    unit = "levels" if np.issubdtype(expected.dtype, np.integer) else "score"
    return compare(unit, received, expected, time_runs(run, cycle(inputs), SECONDS))


def compare(
    unit: str, received: np.ndarray, expected: np.ndarray, seconds: Sequence[float] | None = None
) -> Answers:
    """Compare scores [images, classes]; `seconds` of single images."""
    off = np.abs(received.astype(np.float64) - expected).max()
    agrees = bool((received.argmax(axis=1) == expected.argmax(axis=1)).all())
    return Answers(unit, float(off), agrees, None if seconds is None else [1000 * each for each in seconds])


def _labels(bundle: Path) -> list[str]:
    return (bundle / "labels.txt").read_text("utf-8").removesuffix("\n").split("\n")


def softmax_of(bundle: Path, path: Path, images: np.ndarray) -> np.ndarray:
    """Return the probabilities of the reference kernels, float32 [images, classes]."""
    run = load_run(bundle)
    gives = json.loads((bundle / "preprocessing.json").read_text())["models"][path.name]["output"]
    model = reference(path)
    rows = [run.probabilities(model.run(model.encode(image[None]))[0], gives) for image in images]
    return np.stack(rows)


def load_run(bundle: Path) -> Any:
    """Import the bundle's own run.py."""
    sys.path.insert(0, str(bundle))
    import run  # type: ignore[import-not-found, unused-ignore]

    return run


def ask_run_py(bundle: Path, file: str) -> Answers:
    """Ask the bundle's run.py, from pixels to probabilities."""
    classifier = load_run(bundle).Classifier(file)
    images = pixels(bundle)
    received = np.stack([classifier.probabilities(image) for image in images])
    seconds = time_runs(classifier.probabilities, cycle(images), SECONDS)
    return compare("probability", received, softmax_of(bundle, bundle / file, images), seconds)


def ask_micro_python(bundle: Path, file: str) -> Answers:
    """Ask TensorFlow Lite Micro's package, whose kernels are the reference ones of C++."""
    try:
        from tflite_micro import runtime
    except ImportError:
        raise NotInstalled("pip install tflite-micro") from None
    try:
        model = runtime.Interpreter.from_file(str(bundle / file), arena_size=2**26)
    except RuntimeError as error:
        raise Refused(_first_line(error)) from None

    def run(values: np.ndarray) -> np.ndarray:
        model.set_input(values, 0)
        model.invoke()
        return model.get_output(0)

    return compare_levels(bundle / file, pixels(bundle), run)


def ask_micro_cpp(bundle: Path, file: str) -> Answers:
    """Build the proof of `micro/` against TFLM_DIR and read what it prints; it tells no times."""
    if "TFLM_DIR" not in os.environ:
        raise NotInstalled("TFLM_DIR must name TensorFlow Lite Micro's sources")
    with tempfile.TemporaryDirectory() as folder:
        for command in (
            ["cmake", "-S", bundle / "micro", "-B", folder, f"-DTFLM_DIR={os.environ['TFLM_DIR']}"],
            ["cmake", "--build", folder],
        ):
            subprocess.run([*map(str, command)], check=True, capture_output=True)
        (program,) = Path(folder).glob("*_int8")
        ran = subprocess.run([program], capture_output=True, text=True)
    printed = ran.stdout + ran.stderr  # where TensorFlow Lite Micro writes
    found = re.findall(r"golden input \d+: (.*), up to (\d+) levels off", printed)
    if not found:
        raise Refused("the proof printed no answer")
    labels, model = _labels(bundle), reference(bundle / file)
    expected = [labels[model.run(model.encode(image[None])).argmax()] for image in pixels(bundle)]
    agrees = "PASS" in printed and [name for name, _ in found] == expected
    return Answers("levels", max(float(off) for _, off in found), agrees, None)


PAGE = """\
<!doctype html>
<script type="importmap">{"imports": {
  "@litertjs/core": "./litert/core.js", "@litertjs/wasm-utils": "./litert/wasm-utils.js"}}</script>
<script type="module">
import { Tensor, loadAndCompile, loadLiteRt } from "@litertjs/core";
const answer = (content) => fetch("/answer", { method: "POST", body: JSON.stringify(content) });
try {
  await loadLiteRt("./litert/");
  const { shape, dtype, inputs, seconds } = await (await fetch("/questions")).json();
  const bytes = new Uint8Array(await (await fetch("/model")).arrayBuffer());
  const model = await loadAndCompile(bytes, { accelerator: "wasm" });
  const run = async (values) => {
    const tensor = new Tensor(values, shape);
    const [result] = await model.run(tensor);
    const scores = await result.data();
    tensor.delete();
    result.delete();
    return [...scores];
  };
  const types = { float32: Float32Array, uint8: Uint8Array, int8: Int8Array, int16: Int16Array };
  const values = inputs.map((input) => types[dtype].from(input));
  const scores = [];
  for (const input of values) scores.push(await run(input));
  const milliseconds = [];
  for (const end = performance.now() + 1000 * seconds; performance.now() < end; ) {
    const start = performance.now(); // a browser's clock is coarse: ten runs a time
    for (let turn = 0; turn < 10; turn++) await run(values[turn % values.length]);
    milliseconds.push((performance.now() - start) / 10);
  }
  await answer({ scores, milliseconds });
} catch (error) {
  await answer({ error: String(error.message ?? error) });
}
</script>
"""


def ask_litert_js(bundle: Path, file: str) -> Answers:
    """Ask LiteRT.js of the bundle's `web/` in headless Chromium, on the CPU."""
    if not (bundle / "web/litert/core.js").exists():
        raise NotInstalled("the bundle has no web/, which --web writes")
    if not (browser := shutil.which("chromium") or shutil.which("google-chrome")):
        raise NotInstalled("Chromium")
    images, model = pixels(bundle), reference(bundle / file)
    inputs = [model.encode(image[None]) for image in images]
    questions = {
        "shape": inputs[0].shape,
        "dtype": inputs[0].dtype.name,
        "inputs": [values.ravel().tolist() for values in inputs],
        "seconds": SECONDS,
    }
    answered = _in_browser(browser, bundle, (bundle / file).read_bytes(), json.dumps(questions).encode())
    if "error" in answered:
        raise Refused(answered["error"].partition("\n")[0])
    expected = np.concatenate([model.run(values) for values in inputs])
    unit = "levels" if np.issubdtype(expected.dtype, np.integer) else "score"
    seconds = [each / 1000 for each in answered["milliseconds"]]
    return compare(unit, np.array(answered["scores"]), expected, seconds)


def _in_browser(browser: str, bundle: Path, model: bytes, questions: bytes) -> dict[str, Any]:
    """Open `PAGE` and return what it answers."""
    pages = {"/": ("text/html", PAGE.encode()), "/model": ("application/octet-stream", model)}
    pages["/questions"] = ("application/json", questions)
    answers: list[dict[str, Any]] = []
    answered = threading.Event()

    class Handler(http.server.SimpleHTTPRequestHandler):
        """Gives the page and LiteRT.js, and takes the answer."""

        def do_GET(self) -> None:
            if self.path not in pages:
                return super().do_GET()
            kind, content = pages[self.path]
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            return None

        def do_POST(self) -> None:
            answers.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            answered.set()

        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Handler, directory=str(bundle / "web"))
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        tempfile.TemporaryDirectory() as profile,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        options = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            f"--user-data-dir={profile}",
        ]
        with subprocess.Popen([browser, *options, address], stdout=QUIET, stderr=QUIET) as process:
            answered.wait(START_SECONDS)
            process.terminate()
        server.shutdown()
    return answers[0] if answers else {"error": f"no answer within {START_SECONDS} s"}


def ask_onnx(bundle: Path, file: str) -> Answers:
    """Ask ONNX Runtime, for scores."""
    try:
        import onnxruntime
    except ImportError:
        raise NotInstalled("pip install onnxruntime") from None
    session = onnxruntime.InferenceSession(str(bundle / file), providers=["CPUExecutionProvider"])
    (name,) = [given.name for given in session.get_inputs()]
    return _compare_scores(bundle, lambda image: session.run(None, {name: image.astype(np.float32)})[0])


def ask_saved_model(bundle: Path, file: str) -> Answers:
    """Ask TensorFlow by the signature `serve`, for scores."""
    serve = _signatures(bundle / file)["serve"]
    return _compare_scores(bundle, lambda image: serve(pixels=image)["scores"].numpy())


def _compare_scores(bundle: Path, run: Callable[[np.ndarray], np.ndarray]) -> Answers:
    images, model = pixels(bundle), reference(float_file(bundle))
    received = np.concatenate([run(image[None]) for image in images])
    seconds = time_runs(run, (image[None] for image in cycle(images)), SECONDS)
    return compare("score", received, model.predict(images), seconds)


def ask_saved_model_files(bundle: Path, file: str) -> Answers:
    """Ask TensorFlow by the signature `serve_encoded`, for names of what PNG files show."""
    import tensorflow as tf

    encoded = _signatures(bundle / file)["serve_encoded"]

    def run(content: bytes) -> list[tuple[str, float]]:
        answer = encoded(images=tf.constant([content]))
        names = [name.decode() for name in answer["classes"][0].numpy()]
        return list(zip(names, answer["probabilities"][0].numpy().tolist(), strict=True))

    return _compare_names(bundle, run)


def _signatures(folder: Path) -> Any:
    load_tensorflow_quietly()
    import tensorflow as tf

    return tf.saved_model.load(str(folder)).signatures


def _compare_names(bundle: Path, run: Callable[[bytes], list[tuple[str, float]]]) -> Answers:
    """Compare the most probable classes, by name, of the golden images as PNG files."""
    labels = _labels(bundle)
    files = [path.read_bytes() for path in golden_images(bundle)]
    expected = softmax_of(bundle, float_file(bundle), pixels(bundle))
    answers = [run(content) for content in files]
    off, agrees = 0.0, True
    for best, chances in zip(answers, expected, strict=True):
        off = max(off, *(abs(chance - chances[labels.index(name)]) for name, chance in best))
        agrees &= best[0][0] == labels[int(chances.argmax())]
    seconds = time_runs(run, cycle(files), SECONDS)
    return Answers("probability", float(off), agrees, [1000 * each for each in seconds])


def ask_server(bundle: Path, _: str) -> Answers:
    """Ask the server of docs/deploy/server.md over the loopback, as one client."""
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        raise NotInstalled("pip install fastapi uvicorn") from None
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/deploy/server.md").read_text(), re.DOTALL)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "server.py").write_text(code)
        Path(folder, "bundle").symlink_to(bundle.resolve())
        with _listening(folder) as port:

            def run(content: bytes) -> list[tuple[str, float]]:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
                connection.request("POST", "/classify", content)
                answers = json.loads(connection.getresponse().read())
                connection.close()
                return [(answer["class"], answer["probability"]) for answer in answers]

            return _compare_names(bundle, run)


@contextlib.contextmanager
def _listening(folder: str) -> Iterator[int]:
    """Run `uvicorn server:app` in `folder`; yield its port once it listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "server:app", "--port", str(port)]
    with subprocess.Popen(command, cwd=folder, stdout=QUIET, stderr=QUIET) as process:
        try:
            end = time.monotonic() + START_SECONDS
            while process.poll() is None and time.monotonic() < end:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                time.sleep(0.2)
            yield port
        finally:
            process.terminate()


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


Client = Callable[[Path, str], Answers]


def clients_of(bundle: Path) -> list[tuple[str, str, Client]]:
    """List what is to be asked: file, client, and the function that asks."""
    asked: list[tuple[str, str, Client]] = []
    if (bundle / "saved_model").is_dir():
        asked += [
            ("saved_model", "TensorFlow, serve", ask_saved_model),
            ("saved_model", "TensorFlow, serve_encoded", ask_saved_model_files),
            ("saved_model", "FastAPI server", ask_server),
        ]
    for path in sorted(bundle.glob("*.tflite")):
        asked.append((path.name, "LiteRT, run.py", ask_run_py))
        asked.append((path.name, "LiteRT.js, Chromium", ask_litert_js))
        asked.append((path.name, "TFLite Micro, Python", ask_micro_python))
        if path.name == "model_int8.tflite" and (bundle / "micro").is_dir():
            asked.append((path.name, "TFLite Micro, C++", ask_micro_cpp))
    if (bundle / "web/model.tflite").exists():
        asked.append(("web/model.tflite", "LiteRT.js, Chromium", ask_litert_js))
    asked += [(path.name, "ONNX Runtime", ask_onnx) for path in sorted(bundle.glob("*.onnx"))]
    return asked
