"""From a finished run to its report: answer, measure, explain, write."""

import zlib
from collections.abc import Collection, Sequence
from typing import Any

from evaluation.comparison import compare_runs
from evaluation.data_errors import describe_balance, describe_hardest, describe_label_errors, find_suspects
from evaluation.explain.explanation import Explanation
from evaluation.measurement import Measurement, answer_examples
from evaluation.metrics.answers import Answers
from evaluation.metrics.cost import measure_cost
from evaluation.networks.deployed import DeployedFile, choose, load_deployed
from evaluation.networks.networks import deployed_network, keras_network
from evaluation.page.gallery import Gallery
from evaluation.page.images import Images
from evaluation.page.page import write_page
from evaluation.page.summary import print_next, print_summary
from evaluation.report_directory import MADE_BY, ReportDirectory
from evaluation.request import Request
from pipeline.console.progress import Progress
from pipeline.environment import describe_environment
from pipeline.errors import UserError
from pipeline.finished_run import FinishedRun, load_finished_run
from pipeline.run_directory import RunDirectory
from pipeline.training.resolve import images_in_place

FIGURES = 1
"""Counts up when a figure changes its meaning or its place, so that reports are made anew."""


def evaluate(request: Request) -> None:
    """Report on the run that is asked for, or on each of several and on how they compare.

    Raises:
        UserError: a run, its bundle or the place is wrong.
    """
    if len(request.runs) > 1:
        compare_runs(request, evaluate_run)
        return
    (run,) = request.runs
    out = ReportDirectory(request.out)
    report = evaluate_run(run, out, request)
    print_summary(report)
    print_next(report, run.path, out)


def evaluate_run(
    directory: RunDirectory, out: ReportDirectory, request: Request, whatever: Collection[str] = ()
) -> dict[str, Any]:
    """Measure a run and write its report, unless the one that is there still holds; return it.

    Args:
        directory: the run.
        out: where its report goes.
        request: what was asked for.
        whatever: settings in which the report that is there may differ.

    Raises:
        UserError: the run, its bundle or the place is wrong.
    """
    run = load_finished_run(directory)
    files = load_deployed(run, None)
    measured = load_deployed(run, request.formats) if request.formats else choose(files)
    evaluator = Evaluator(run, files, measured, request)
    made_of = evaluator.describe_ingredients()
    if earlier := out.earlier(made_of, whatever):
        print(f"{out.report} is of this very network: it was not measured again")
        return earlier
    with out.open(), images_in_place():
        if out.report.exists():
            print(f"{out.report} is of other settings or files: it will be replaced")
        report = {"made_by": MADE_BY, "made_of": made_of, **evaluator.report()}
        evaluator.write(out, report)
    return report


class Evaluator:
    """One evaluation of one run.

    Args:
        run: the finished run.
        files: the TFLite files of its bundle, which cost something.
        measured: those of them that are measured beside Keras.
        request: what was asked for.
    """

    def __init__(
        self,
        run: FinishedRun,
        files: Sequence[DeployedFile],
        measured: Sequence[DeployedFile],
        request: Request,
    ) -> None:
        self._run, self._files, self._request = run, files, request
        self._keras = keras_network(run.network, run.directory.model.name)
        networks = [self._keras, *map(deployed_network, measured)]
        self._measurement = Measurement(run, networks, request.corrupted, request.flip)
        self._gallery = Gallery(run.data)
        self._explanation = Explanation(run.network, measured, self._gallery)

    def describe_ingredients(self) -> dict[str, Any]:
        """Build all that the figures are a function of."""
        model = self._run.directory.model.read_bytes()
        return {
            "figures": FIGURES,
            "directory": self._run.directory.path.resolve().name,
            "processor": describe_environment()["processor"],
            "model_crc32": f"0x{zlib.crc32(model):08x}",
            "files_crc32": {file.name: f"0x{zlib.crc32(file.content):08x}" for file in self._files},
            "measured": self._measurement.names,
            "flip": self._request.flip,
            "corrupted": self._request.corrupted,
            "prepared_corruptions": self._measurement.prepared,
        }

    def report(self) -> dict[str, Any]:
        """Measure everything; return the content of `report.json`.

        Raises:
            UserError: the network is not the one that the run measured.
        """
        run, splits = self._run, vars(self._run.data.splits)
        self._measurement.answer()
        self._check_accuracy()
        networks = self._measurement.describe()
        temperature = networks["keras"]["calibration"]["temperature"]
        self._held_out = find_suspects(run, self._answers_held_out(), temperature)
        show = Images(self._measurement.test, self._gallery, self._explanation, splits["test"])
        return {
            "run": _describe_run(run),
            "class_names": list(run.class_names),
            "chance": 1 / len(run.class_names),
            "images": {name: len(rows) for name, rows in splits.items()},
            "networks": networks,
            "quantised": show.quantised(run.class_names),
            "mistakes": show.mistakes(),
            "confused_pairs": show.confused_pairs(run.class_names),
            "explanation": show.explanation(run.config.run.seed),
            "cost": measure_cost(run, self._files),
            "data": {
                "balance": describe_balance(run),
                "label_errors": describe_label_errors(self._held_out, self._gallery),
                "hardest": describe_hardest(run, self._keras, self._gallery),
            },
            "environment": describe_environment(),
        }

    def _check_accuracy(self) -> None:
        received = float(self._measurement.test["keras"].right.mean())
        if not self._run.is_reproduced_by(received):
            recorded = self._run.metrics["test"]["accuracy"]
            raise UserError(
                f"{self._run.directory.model} must have the run's test accuracy of "
                f"{recorded:.2%}; it has {received:.2%}"
            )

    def _answers_held_out(self) -> dict[str, Answers]:
        """What Keras answers for every image that it was not trained on."""
        calibration = self._run.data.examples("calibration")
        with Progress(len(calibration), "calibration images", "images") as progress:
            answers = answer_examples([self._keras], calibration, progress)["keras"]
        measurement = self._measurement
        return {
            "validation": measurement.validation["keras"],
            "calibration": answers,
            "test": measurement.test["keras"],
        }

    def write(self, out: ReportDirectory, report: dict[str, Any]) -> None:
        """Write the tables, the page and the figures.

        Raises:
            UserError: the disk is full, or the like.
        """
        page = write_page(report, self._gallery.images)
        out.write_predictions(self._run.data, self._measurement.test)
        out.write_label_errors(self._run.data, self._held_out)
        out.write(report, page)


def _describe_run(run: FinishedRun) -> dict[str, Any]:
    values = run.config.values()
    named = ("data", "model", "width", "image_size", "seed", "epochs")
    return {
        "directory": run.directory.path.resolve().name,
        **{name: values[name] for name in named},
        "recorded_test_accuracy": run.metrics["test"]["accuracy"],
        "test_fingerprint": run.splits["test"]["fingerprint"],
    }
