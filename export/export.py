"""From a finished run to a bundle: convert, verify, compare, and only then move it into place."""

import os
import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from export.bundle.directory import BundleDirectory
from export.bundle.report import Findings, build_report, print_tables
from export.bundle.write import GOLDEN_IMAGES, write_bundle
from export.convert.alignment import align_weights
from export.convert.converter import Converter
from export.convert.metadata import with_metadata
from export.convert.network import build_inference_network, with_temperature, write_single_image_graph
from export.convert.saved_model import export_saved_model
from export.errors import ExportFailed
from export.formats import FORMATS, TFLITE
from export.int8 import CHOOSING_IMAGES, choose, compare_int8, prepare_strategies, verify_int8
from export.lines import say
from export.onnx.file import OnnxFile
from export.quantize.calibration_images import CalibrationImages, load_calibration
from export.request import Request
from export.verify.accuracy import KerasAnswers, Split, answer_with_keras
from export.verify.comparison import Comparison
from export.verify.logits import verify_float32, verify_onnx, verify_saved_model
from export.verify.operations import verify_built_in, verify_integer_only
from export.verify.pixels import DevicePixels, verify_device_pixels
from export.verify.served import verify_answers
from export.web.folder import write_web
from export.web.model import with_uint8
from pipeline.console.progress import Progress
from pipeline.finished_run import FinishedRun, load_finished_run
from pipeline.tflite.file import TFLiteFile
from pipeline.tflite.latency import Latency, measure_file

VERIFIED_IMAGES = 32
"""Real images on which exact formats are held to the Keras network."""

QUICK_SECONDS, THOROUGH_SECONDS = 0.2, 3.0
"""Time to measure latency for, without and with `--benchmark`."""


def export_run(request: Request) -> None:
    """Export the run that is asked for, or leave everything as it was.

    Raises:
        UserError: the run, the place or a limit is wrong.
        ExportFailed: a check failed; what is known of it lies beside the bundle's place.
    """
    # A device is a CPU or slower: and GPUs compute float32 convolutions in TF32, too coarsely to
    # compare with.
    tf.config.set_visible_devices([], "GPU")
    directory = BundleDirectory(request.out)
    directory.check()
    run = load_finished_run(request.run)
    with directory.open() as folder:
        network = build_inference_network(with_temperature(run.network, request.temperature), request.output)
        calibration = load_calibration(run)
        keras_answers = answer_with_keras(network, Split(run.data.examples("test")))
        verify_accuracy(run, keras_answers.accuracy)
        print_settings(request, calibration)

        if "saved_model" in request.formats:
            place, reading = folder / FORMATS["saved_model"].file, run.data.source.reading
            export_saved_model(network, place, run.class_names, request.output, reading)
        float_files = convert(network, request.formats, calibration.images)
        onnx_files = convert_to_onnx(network, request.formats, calibration.images)
        images = calibration.images[:VERIFIED_IMAGES]
        device_pixels = verify_pixels(run, directory.failed)
        differences = verify_scores(network, folder, float_files, onnx_files, images, directory.failed)
        if "saved_model" in request.formats:
            verify_names(network, folder, images, run.class_names, request.output, directory.failed)
        # From here on every file has the bytes that are shipped.
        made: dict[str, TFLiteFile | OnnxFile] = {
            **{name: with_metadata(file, run.class_names) for name, file in float_files.items()},
            **onnx_files,
        }
        files = {name: made[name] for name in request.formats if name in made}
        comparisons = compare(files, keras_answers, request.max_drop)

        int8 = web = None
        if "int8" in request.formats:
            float32 = float_files["float32"]
            validation = Split(run.data.examples("validation").spread(CHOOSING_IMAGES))
            answers = answer_with_keras(network, validation)
            strategies = prepare_strategies(float32, calibration, run, answers, request, directory.finetuning)
            tried, chosen = choose(float32, strategies, answers, request, directory.failed)
            comparisons["int8"] = compare_int8(
                float32, tried, chosen, keras_answers, request.max_drop, directory.failed
            )
            files["int8"] = chosen.file
            int8 = verify_int8(float32, tried, chosen, answers, calibration.images, request)
            if request.web:
                web = with_uint8(chosen.file, chosen.strategy, float32, images)
                say("web", f"uint8 in and out, and int8's very scores on {len(images)} images")

        latencies = measure(files, images, thorough=request.benchmark)
        on_test = dict(keras_answers.split.answered)
        found = Findings(
            calibration, files, differences, comparisons, device_pixels, int8, latencies, on_test, web
        )
        report = build_report(request, run, found)
        write_bundle(folder, request, run, found, report)
        if web:
            write_web(folder, web, request, run, images[:GOLDEN_IMAGES])
    if request.finetune:
        directory.finetuning.unlink(missing_ok=True)
    print_tables(report, with_speed=request.benchmark)
    print(f"everything lies in {request.out}: model_card.md, report.json")
    if report["files"]:
        print("next:")
        print(f"  python {shlex.quote(str(request.out / 'run.py'))} IMAGE_OR_FOLDER ...")
        if request.web:
            print(f"  python -m http.server --directory {shlex.quote(str(request.out / 'web'))}")


def verify_accuracy(run: FinishedRun, received: float) -> None:
    """Check that the network is the one that the run measured.

    Raises:
        ExportFailed: its test accuracy is another.
    """
    values = run.config.values()
    say("run", f"{values['model']}, width {values['width']}, {values['data']}")
    recorded = run.metrics["test"]["accuracy"]
    if not run.is_reproduced_by(received):
        raise ExportFailed(
            f"{run.directory.model} must have the run's test accuracy of {recorded:.2%}; "
            f"it has {received:.2%}"
        )
    say("keras", f"{received:.2%} on test, as in training")


def print_settings(request: Request, calibration: CalibrationImages) -> None:
    """Print what the files depend on besides the network."""
    if request.temperature != 1:
        say("temperature", f"{request.temperature:g}, folded into the last layer")
    images = f"{len(calibration.images):,} images of train, un-augmented"
    if calibration.left_out:
        images += f"; {calibration.left_out} left out because they are in test too"
    if calibration.trained_on:
        images += f"; {calibration.trained_on} of them were trained on, as the calibration split is small"
    say("calibration", f"{images}, fingerprint {calibration.fingerprint[:16]}")


def convert(network: keras.Model, formats: Sequence[str], images: np.ndarray) -> dict[str, TFLiteFile]:
    """Convert to every TFLite format but int8; to float32 even unasked, as int8 is made from it.

    Args:
        network: pixels to scores.
        formats: what is asked for.
        images: of the calibration, uint8 [images, height, width, 3].

    Raises:
        ExportFailed: TFLite has no built-in operation for a layer.
    """
    if not set(formats) & set(TFLITE):
        return {}
    with tempfile.TemporaryDirectory() as scratch:
        write_single_image_graph(network, Path(scratch))
        converter = Converter(Path(scratch), [operation.name for operation in network.operations])
        files = {"float32": converter.float32()}
        conversions: dict[str, Callable[[], TFLiteFile]] = {
            "float32": lambda: files["float32"],
            "float16": converter.float16,
            "dynamic": converter.dynamic,
            "int16": lambda: align_weights(converter.int16(images)),
        }
        for name in formats:
            if name in conversions:
                files[name] = conversions[name]()
                verify_built_in(files[name].graph)
                if name == "int16":
                    verify_integer_only(files[name].graph)
                say(name, f"built-in operations only; {files[name].size / 1024:,.1f} KiB")
    return files


def convert_to_onnx(network: keras.Model, formats: Sequence[str], images: np.ndarray) -> dict[str, OnnxFile]:
    """Convert to the ONNX formats; to float32 even unasked, as int8 is made from it.

    Args:
        network: pixels to scores.
        formats: what is asked for.
        images: of the calibration, uint8 [images, height, width, 3].

    Raises:
        ExportFailed: ONNX has no operator for a layer, or it cannot be quantised.
    """
    if not {"onnx", "onnx_int8"} & set(formats):
        return {}
    # Their packages are not among the requirements.
    from export.onnx.convert import convert
    from export.onnx.quantize import quantize

    files = {"onnx": convert(network)}
    if "onnx_int8" in formats:
        files["onnx_int8"] = quantize(files["onnx"], images)
    for name, file in files.items():
        say(name, f"operators of opset {file.opset} only; {file.size / 1024:,.1f} KiB")
    return files


def verify_pixels(run: FinishedRun, failed: Path) -> DevicePixels | None:
    """Hold what run.py sees of original files to what training saw.

    Raises:
        ExportFailed: they differ by more than rounding.
    """
    found = verify_device_pixels(run.data.source, run.data.image_size, failed / "worst_file.png")
    if found:
        say(
            "run.py", f"sees {found.files} files as training did, to {found.largest_difference} of 255 levels"
        )
    return found


def verify_scores(
    network: keras.Model,
    folder: Path,
    tflite: Mapping[str, TFLiteFile],
    onnx: Mapping[str, OnnxFile],
    images: np.ndarray,
    failed: Path,
) -> dict[str, float]:
    """Hold the exact formats to the Keras network.

    Args:
        network: pixels to scores.
        folder: holds the SavedModel, where there is one.
        tflite: holds the float32 file, where there is one.
        onnx: as `tflite`.
        images: uint8 [images, height, width, 3].
        failed: folder for the worst image where a format fails.

    Returns:
        Format -> largest difference of a score.

    Raises:
        ExportFailed: a score is too far off.
    """
    expected = network.predict_on_batch(images)
    saved_model = folder / FORMATS["saved_model"].file
    differences = {}
    if saved_model.exists():
        worst = failed / "worst_saved_model.npz"
        differences["saved_model"] = verify_saved_model(saved_model, images, expected, worst)
    if "float32" in tflite:
        worst = failed / "worst_float32.npz"
        differences["float32"] = verify_float32(tflite["float32"], images, expected, worst)
    if "onnx" in onnx:
        differences["onnx"] = verify_onnx(onnx["onnx"], images, expected, failed / "worst_onnx.npz")
    for name, difference in differences.items():
        say(name, f"within {difference:.1e} of Keras on {len(images)} images")
    return differences


def verify_names(
    network: keras.Model,
    folder: Path,
    images: np.ndarray,
    class_names: Sequence[str],
    output: str,
    failed: Path,
) -> None:
    """Hold the SavedModel's answers in words to the Keras network: for pixels, and for files of them.

    Raises:
        ExportFailed: it names other classes, or gives them other probabilities.
    """
    expected = network.predict_on_batch(images)
    saved_model, worst = folder / FORMATS["saved_model"].file, failed / "worst_saved_model.npz"
    verify_answers(saved_model, images, expected, class_names, output, worst)
    say("saved_model", f"names the same classes for pixels and for files on {len(images)} images")


def compare(
    files: Mapping[str, TFLiteFile | OnnxFile], keras_answers: KerasAnswers, max_drop: float
) -> dict[str, Comparison]:
    """Compare files with the Keras network on the whole test split.

    Raises:
        ExportFailed: one loses more accuracy than `max_drop` percentage points.
    """
    comparisons = keras_answers.compare_files(files)
    for name, comparison in comparisons.items():
        say(name, f"{comparison.accuracy:.2%} on test")
        if not comparison.passes(max_drop):
            raise ExportFailed(
                f"{name} may cost at most {max_drop:g} points of test accuracy; "
                f"it costs {comparison.drop:.2f}"
            )
    return comparisons


def measure(
    files: Mapping[str, TFLiteFile | OnnxFile], images: np.ndarray, *, thorough: bool
) -> dict[str, list[Latency]]:
    """Measure the speed of every file: quickly on one thread, or at length on one and on all."""
    threads, seconds = [1], QUICK_SECONDS
    if thorough:
        threads, seconds = sorted({1, os.cpu_count() or 1}), THOROUGH_SECONDS
    latencies: dict[str, list[Latency]] = {name: [] for name in files}
    with Progress(len(files) * len(threads), "measuring latency", "measurements") as progress:
        for name, file in files.items():
            for count in threads:
                latencies[name].append(measure_file(file, images, count, seconds))
                progress.update(1, name)
    return latencies
