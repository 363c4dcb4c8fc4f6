"""From a finished run to a bundle: convert, verify, compare, and only then move it into place."""

import os
import shlex
import tempfile
from pathlib import Path

import tensorflow as tf

from export.bundle.directory import BundleDirectory
from export.bundle.failure import write_failure
from export.bundle.report import build_report, describe_tried, print_tables
from export.bundle.write import write_bundle
from export.convert.alignment import align_weights
from export.convert.converter import Converter
from export.convert.network import (
    build_inference_network,
    export_saved_model,
    with_temperature,
    write_single_image_graph,
)
from export.errors import ExportFailed
from export.limits import check_limits
from export.quantize.calibration_images import load_calibration
from export.quantize.search import Findings, Tried
from export.quantize.stability import compare_halves, try_rungs
from export.request import Request
from export.tflite.formats import FORMATS
from export.tflite.graph import read_graph, verify_built_in, verify_integer_only
from export.tflite.latency import measure_file
from export.verify.accuracy import Judge
from export.verify.logits import verify_float32, verify_saved_model
from export.verify.micro import MicroResult, verify_on_micro
from pipeline.console.progress import Progress
from pipeline.finished_run import FinishedRun, load_finished_run

VERIFIED_IMAGES = 32
"""Real images on which exact formats are held to the Keras network."""

MICRO_IMAGES = 100
"""Real images on which LiteRT and TensorFlow Lite Micro are compared, at most."""

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
        exporter = Exporter(request, run, folder, directory.failed)
        exporter.verify_accuracy()
        exporter.convert()
        exporter.verify_scores()
        exporter.compare()
        if "int8" in request.formats:
            exporter.quantize()
            exporter.verify_on_micro()
            check_limits(
                len(exporter.found.files["int8"]),
                exporter.found.micro,
                max_bytes=request.max_bytes,
                max_arena_kib=request.max_arena_kib,
            )
        exporter.measure()
        report = build_report(request, run, exporter.found)
        write_bundle(folder, request, run, exporter.found, report)
    print_tables(report, with_speed=request.benchmark)
    print(f"everything lies in {request.out}: model_card.md, report.json")
    if report["files"]:
        print("next:")
        print(f"  python {shlex.quote(str(request.out / 'run.py'))} IMAGE_OR_FOLDER ...")


def say(what: str, text: str) -> None:
    """Print one line of progress."""
    print(f"{what:>11}  {text}", flush=True)


class Exporter:
    """One export, step by step.

    Attributes:
        found: what is known so far.
        network: the Keras network that is exported.
        layers: names of its layers, and of its operations that stand in none.
        judge: of the test split.
        float32: the float32 .tflite file, from which int8 is made; empty until converted.
    """

    def __init__(self, request: Request, run: FinishedRun, folder: Path, failed: Path) -> None:
        self.request, self.run, self.folder, self.failed = request, run, folder, failed
        network = with_temperature(run.network, request.temperature)
        self.network = build_inference_network(network, request.output)
        self.layers = [operation.name for operation in self.network.operations]
        self.found = Findings(load_calibration(run))
        self.judge = Judge(self.network, run.data.examples("test"))
        self.float32 = b""

    def verify_accuracy(self) -> None:
        """Check that the network is the one that the run measured.

        Raises:
            ExportFailed: its test accuracy is another.
        """
        values, calibration = self.run.config.values(), self.found.calibration
        say("run", f"{values['model']}, width {values['width']}, {values['data']}")
        recorded, received = self.run.metrics["test"]["accuracy"], self.judge.float_accuracy
        if not self.run.is_reproduced_by(received):
            raise ExportFailed(
                f"{self.run.directory.model} must have the run's test accuracy of {recorded:.2%}; "
                f"it has {received:.2%}"
            )
        say("keras", f"{received:.2%} on test, as in training")
        if self.request.temperature != 1:
            say("temperature", f"{self.request.temperature:g}, folded into the last layer")
        images = f"{len(calibration.images):,} images of train, un-augmented"
        if calibration.left_out:
            images += f"; {calibration.left_out} left out because they are in test too"
        say("calibration", f"{images}, fingerprint {calibration.fingerprint[:16]}")

    def convert(self) -> None:
        """Write the SavedModel and convert to every TFLite format but int8.

        Raises:
            ExportFailed: TFLite has no built-in operation for a layer.
        """
        if "saved_model" in self.request.formats:
            export_saved_model(self.network, self.folder / FORMATS["saved_model"].file)
        if self.request.formats == ("saved_model",):
            return
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            write_single_image_graph(self.network, Path(scratch))
            converter = Converter(Path(scratch), self.layers)
            self.float32 = converter.float32()
            conversions = {
                "float32": lambda: self.float32,
                "float16": converter.float16,
                "dynamic": converter.dynamic,
                "int16": lambda: align_weights(converter.int16(self.found.calibration.images)),
            }
            for name in self.request.formats:
                if name in conversions:
                    self.found.files[name] = content = conversions[name]()
                    graph = read_graph(content, self.layers)
                    verify_built_in(graph)
                    if name == "int16":
                        verify_integer_only(graph)
                    say(name, f"built-in operations only; {len(content) / 1024:,.1f} KiB")

    def verify_scores(self) -> None:
        """Hold the exact formats to the Keras network, on real images.

        Raises:
            ExportFailed: a score is too far off; the worst image is saved.
        """
        images = self.found.calibration.images[:VERIFIED_IMAGES]
        expected = self.network.predict_on_batch(images)
        if "saved_model" in self.request.formats:
            path = self.folder / FORMATS["saved_model"].file
            worst = self.failed / "worst_saved_model.npz"
            self.found.differences["saved_model"] = verify_saved_model(path, images, expected, worst)
        if self.float32:
            worst = self.failed / "worst_float32.npz"
            self.found.differences["float32"] = verify_float32(self.float32, images, expected, worst)
        for name, difference in self.found.differences.items():
            say(name, f"within {difference:.1e} of Keras on {len(images)} images")

    def compare(self) -> None:
        """Compare every file but int8 with the Keras network on the whole test split.

        Raises:
            ExportFailed: one loses more accuracy than allowed.
        """
        for name, scores in self.judge.scores(self.found.files).items():
            comparison = self.judge.compare(scores)
            self.found.comparisons[name] = comparison
            say(name, f"{comparison.accuracy:.2%} on test")
            if not comparison.passes(self.request.max_drop):
                raise ExportFailed(
                    f"{name} may cost at most {self.request.max_drop:g} points of test accuracy; "
                    f"it costs {comparison.drop:.2f}"
                )

    def quantize(self) -> None:
        """Quantise to int8, climbing the repair ladder where that is asked for.

        Raises:
            ExportFailed: no way of quantising that was tried is good enough.
        """
        for tried in try_rungs(self.float32, self.run, self.judge, self.layers, self.request.input_type):
            self.found.tried.append(tried)
            say("int8", f"{tried.comparison.accuracy:.2%} on test by {tried.rung.name}")
            passes = tried.comparison.passes(self.request.max_drop)
            if passes or not self.request.repair:
                break
        if not passes:
            raise ExportFailed(self._explain_loss())
        self.found.files["int8"] = tried.content
        self.found.comparisons["int8"] = tried.comparison
        self.found.halves = halves = compare_halves(self.float32, tried.rung, self.judge, self.layers)
        say("int8", f"two halves of the calibration agree on {halves.agreement:.2%} of test")

    def _explain_loss(self) -> str:
        """Rank the layers by their error in the best way, and leave that beside the bundle."""
        best: Tried = min(self.found.tried, key=lambda tried: tried.comparison.drop)
        errors = best.rung.rank_layers(self.float32, self.layers)
        described = [describe_tried(tried, self.request.max_drop) for tried in self.found.tried]
        write_failure(self.failed, described, errors)
        return (
            f"int8 may cost at most {self.request.max_drop:g} points of test accuracy; "
            f"it costs {best.comparison.drop:.2f}, most error comes from layer "
            f"{errors[0].layer!r}, see {self.failed / 'report.md'}"
        )

    def verify_on_micro(self) -> None:
        """Run the int8 file in TensorFlow Lite Micro.

        Raises:
            ExportFailed: it answers otherwise than LiteRT.
        """
        images = self.found.calibration.images[:MICRO_IMAGES]
        self.found.micro = micro = verify_on_micro(self.found.files["int8"], images)
        if isinstance(micro, MicroResult):
            arena = f"arena {micro.arena_bytes / 1024:.1f} KiB"
            say("micro", f"equals LiteRT bit for bit on {micro.images} images; {arena}")
        else:
            say("micro", f"not run: {micro}")

    def measure(self) -> None:
        """Measure the speed of every file, on one thread and with `--benchmark` on all."""
        threads, seconds = [1], QUICK_SECONDS
        if self.request.benchmark:
            threads, seconds = sorted({1, os.cpu_count() or 1}), THOROUGH_SECONDS
        images = self.found.calibration.images[:VERIFIED_IMAGES]
        total = len(self.found.files) * len(threads)
        with Progress(total, "measuring latency", "measurements") as progress:
            for name, content in self.found.files.items():
                self.found.latencies[name] = []
                for count in threads:
                    measured = measure_file(content, images, count, seconds)
                    self.found.latencies[name].append(measured)
                    progress.update(1, name)
