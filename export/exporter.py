"""From a finished run to a bundle: convert, verify, judge, and only then move it into place."""

import os
import shlex
import tempfile
from pathlib import Path
from typing import Any

from export.alignment import align_weights
from export.benchmark import measure_file
from export.bundle import write_bundle
from export.bundle_directory import BundleDirectory
from export.calibration import Calibrator
from export.command_line import Request
from export.converter import Converter
from export.errors import ExportFailed
from export.failure import write_failure
from export.findings import Findings
from export.finished_run import FinishedRun, load_calibration, load_finished_run
from export.formats import FORMATS
from export.graph import read_graph, verify_built_in
from export.int8 import compare_halves, try_rungs
from export.judge import Judge
from export.layer_error import rank_layers
from export.limits import check_limits
from export.micro import MicroResult, verify_on_micro
from export.network import (
    build_inference_network,
    export_saved_model,
    write_single_picture_graph,
)
from export.report import (
    FILES_HEADER,
    SPEED_HEADER,
    build_report,
    describe_tried,
    file_rows,
    plain_table,
    speed_rows,
)
from export.verification import verify_float32, verify_saved_model
from pipeline.progress import Progress

VERIFIED_PICTURES = 32
"""Real pictures on which exact formats are held to the Keras network."""

SAME_ACCURACY = 0.002
"""Difference in test accuracy that another device's rounding may make."""

COMPARED_PICTURES = 100
"""Real pictures on which layers, and LiteRT and TensorFlow Lite Micro, are compared, at most."""

QUICK_SECONDS, THOROUGH_SECONDS = 0.2, 3.0
"""Time to measure latency for, without and with `--benchmark`."""

ALL_THREADS = os.cpu_count() or 1


def export_run(request: Request) -> None:
    """Export the run that is asked for, or leave everything as it was.

    Raises:
        UserError: the run, the place or a limit is wrong.
        ExportFailed: a check failed; what is known of it lies beside the bundle's place.
    """
    directory = BundleDirectory(request.out)
    with directory.open() as folder:
        run = load_finished_run(request.run)
        exporter = Exporter(request, run, folder, directory.failed)
        exporter.announce()
        exporter.convert()
        exporter.verify()
        if exporter.found.files:
            exporter.judge()
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
    _print_summary(request, report)


def _print_summary(request: Request, report: dict[str, Any]) -> None:
    if report["files"]:
        print("\n" + plain_table(FILES_HEADER, file_rows(report)) + "\n")
    if request.benchmark and report["files"]:
        print(plain_table(SPEED_HEADER, speed_rows(report)) + "\n")
    print(f"everything lies in {request.out}: model_card.md, report.json")
    if report["files"]:
        print("next:")
        print(f"  python {shlex.quote(str(request.out / 'run.py'))} PICTURE_OR_FOLDER ...")


def say(what: str, text: str) -> None:
    """Print one line of progress."""
    print(f"{what:>11}  {text}", flush=True)


class Exporter:
    """One export, step by step.

    Attributes:
        found: what is known so far.
    """

    def __init__(self, request: Request, run: FinishedRun, folder: Path, failed: Path) -> None:
        self.request, self.run, self.folder, self.failed = request, run, folder, failed
        self.network = build_inference_network(run.network, request.output)
        self.layers = [layer.name for layer in self.network.layers]
        self.found = Findings(load_calibration(run))
        self.court = Judge(self.network, run.data.examples("test"))

    def announce(self) -> None:
        """Print what is going to be exported.

        Raises:
            ExportFailed: the network is not the one that the run measured.
        """
        values, calibration = self.run.config.values(), self.found.calibration
        say("run", f"{values['model']}, width {values['width']}, {values['data']}")
        recorded, received = self.run.metrics["test"]["accuracy"], self.court.float_accuracy
        if abs(received - recorded) > SAME_ACCURACY:
            raise ExportFailed(
                f"{self.run.directory.model} must have the run's test accuracy of {recorded:.2%}; "
                f"it has {received:.2%}"
            )
        say("test", f"accuracy {received:.2%}, as in training")
        pictures = f"{len(calibration.images):,} pictures of train, un-augmented"
        if calibration.left_out:
            pictures += f"; {calibration.left_out} left out because they are in test too"
        say("calibration", f"{pictures}, fingerprint {calibration.fingerprint[:16]}")

    def convert(self) -> None:
        """Write the SavedModel and convert to every TFLite format but int8.

        Raises:
            ExportFailed: TFLite has no built-in operation for a layer.
        """
        images = self.found.calibration.images
        with tempfile.TemporaryDirectory() as scratch:
            write_single_picture_graph(self.network, Path(scratch))
            converter = Converter(Path(scratch), self.layers)
            self.float32 = converter.float32()
            conversions = {
                "float32": lambda: self.float32,
                "float16": converter.float16,
                "dynamic": converter.dynamic,
                "int16": lambda: align_weights(converter.int16(images)),
            }
            for name in self.request.formats:
                if name in conversions:
                    self.found.files[name] = conversions[name]()
                    verify_built_in(read_graph(self.found.files[name], self.layers))
                    size = len(self.found.files[name]) / 1024
                    say(name, f"{size:,.1f} KiB of built-in operations")
        if "saved_model" in self.request.formats:
            export_saved_model(self.network, self.folder / FORMATS["saved_model"].file)

    def verify(self) -> None:
        """Hold the exact formats to the Keras network, on real pictures.

        Raises:
            ExportFailed: a score is too far off; the worst picture is saved.
        """
        images = self.found.calibration.images[:VERIFIED_PICTURES]
        expected = self.network.predict_on_batch(images)
        if "saved_model" in self.request.formats:
            self.found.differences["saved_model"] = verify_saved_model(
                self.folder / "saved_model", images, expected, self.failed / "worst_saved_model.npz"
            )
        self.found.differences["float32"] = verify_float32(
            self.float32, images, expected, self.failed / "worst_float32.npz"
        )
        for name, difference in self.found.differences.items():
            say(name, f"within {difference:.1e} of Keras on {len(images)} pictures")

    def judge(self) -> None:
        """Compare every file but int8 with the Keras network on the whole test split.

        Raises:
            ExportFailed: one loses more accuracy than allowed.
        """
        for name, scores in self.court.scores(self.found.files).items():
            comparison = self.court.compare(scores)
            self.found.comparisons[name] = comparison
            say(name, f"{comparison.accuracy:.2%} on test, Keras {comparison.float_accuracy:.2%}")
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
        images = self.found.calibration.images
        rungs = try_rungs(
            self.float32,
            self.run,
            images,
            self.court,
            layers=self.layers,
            input_type=self.request.input_type,
            max_drop=self.request.max_drop,
        )
        for tried in rungs:
            self.found.tried.append(tried)
            comparison = tried.comparison
            say("int8", f"{comparison.accuracy:.2%} on test by {tried.name}")
            if tried.passes or not self.request.repair:
                break
        if not tried.passes:
            raise ExportFailed(self._explain_loss())
        self.found.files["int8"] = tried.content
        self.found.comparisons["int8"] = tried.comparison
        self.found.halves = halves = compare_halves(self.float32, images, self.court, self.layers)
        say("int8", f"two halves of the calibration agree on {halves.agreement:.2%} of test")

    def _explain_loss(self) -> str:
        """Rank the layers by their error and leave that beside the bundle's place."""
        images = self.found.calibration.images[:COMPARED_PICTURES]
        ranges = Calibrator(self.float32, images).full
        errors = rank_layers(self.float32, ranges, images, self.layers)
        write_failure(self.failed, [describe_tried(tried) for tried in self.found.tried], errors)
        best = min(self.found.tried, key=lambda tried: tried.comparison.drop)
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
        images = self.found.calibration.images[:COMPARED_PICTURES]
        self.found.micro = micro = verify_on_micro(self.found.files["int8"], images)
        if isinstance(micro, MicroResult):
            arena = f"arena {micro.arena_bytes / 1024:.1f} KiB"
            say("micro", f"equals LiteRT bit for bit on {micro.pictures} pictures; {arena}")
        else:
            say("micro", f"not run: {micro}")

    def measure(self) -> None:
        """Measure the speed of every file, on one thread and with `--benchmark` on all."""
        threads = [1]
        seconds = QUICK_SECONDS
        if self.request.benchmark:
            threads, seconds = sorted({1, ALL_THREADS}), THOROUGH_SECONDS
        images = self.found.calibration.images[:VERIFIED_PICTURES]
        total = len(self.found.files) * len(threads)
        with Progress(total, "measuring latency", "measurements") as progress:
            for name, content in self.found.files.items():
                self.found.latencies[name] = []
                for count in threads:
                    measured = measure_file(content, images, count, seconds)
                    self.found.latencies[name].append(measured)
                    progress.update(1, name)
