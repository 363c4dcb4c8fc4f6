"""From a finished run to its report: answer, measure, explain, write."""

from collections.abc import Collection, Sequence
from typing import Any

from evaluation.comparison import compare_runs
from evaluation.cross_validation import judge_all_labels
from evaluation.data_errors import describe_balance, describe_hardest, describe_label_errors, find_suspects
from evaluation.explain.explanation import build_explainers, explained_layer
from evaluation.measurement import answer_alone, answer_run, describe_networks, prepared_corruptions
from evaluation.metrics.answers import Answers
from evaluation.metrics.cost import measure_cost
from evaluation.networks.deployed import DeployedFile, choose, load_deployed
from evaluation.networks.networks import Network, deployed_network, keras_network
from evaluation.page.gallery import name_images
from evaluation.page.images import (
    describe_confused_pairs,
    describe_explanation,
    describe_exported,
    describe_mistakes,
)
from evaluation.page.page import write_page
from evaluation.page.summary import print_next, print_summary
from evaluation.report_directory import (
    LABEL_ERRORS,
    MADE_BY,
    PAGE,
    PREDICTIONS,
    REPORT,
    ReportDirectory,
    with_checksums,
)
from evaluation.request import Request
from evaluation.tables import describe_predictions, list_label_errors
from pipeline.environment import describe_environment
from pipeline.errors import UserError
from pipeline.files.csv_file import to_csv
from pipeline.finished_run import FinishedRun, load_finished_run
from pipeline.run_directory import RunDirectory
from pipeline.tflite.file import crc32
from pipeline.training.resolve import images_in_place

FIGURES = 3
"""Counts up when a figure changes its meaning, its name or its place, so that reports are made anew."""


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
    print_next(report, run.path, out.files)


def evaluate_run(
    directory: RunDirectory, out: ReportDirectory, request: Request, ignored: Collection[str] = ()
) -> dict[str, Any]:
    """Measure a run and write its report, unless the one that is there still holds; return it.

    Args:
        directory: the run.
        out: where its report goes.
        request: what was asked for.
        ignored: settings in which the report that is there may differ.

    Raises:
        UserError: the run, its bundle or the place is wrong, or its network is not the one that it measured.
    """
    run = load_finished_run(directory)
    files = load_deployed(run, None)
    measured = load_deployed(run, request.formats) if request.formats else choose(files)
    prepared = prepared_corruptions(run, request.corrupted)
    made_of = _describe_ingredients(run, files, measured, prepared, request)
    if earlier := out.earlier(made_of, ignored):
        print(f"{out.report} is of this very network: it was not measured again")
        return earlier
    with out.open(), images_in_place():
        if out.report.exists():
            print(f"{out.report} is of other settings or files: it will be replaced")
        keras = keras_network(run.network, run.directory.model.name)
        networks = [keras, *map(deployed_network, measured)]
        answers = answer_run(run, networks, request.flip, request.corrupted, prepared)
        _check_accuracy(run, answers.test["keras"])
        calibration = _answer_calibration(run, keras)
        figures = describe_networks(run, networks, answers)
        temperature = figures["keras"]["calibration"]["temperature"]
        splits = {"validation": answers.validation["keras"], **calibration, "test": answers.test["keras"]}
        held_out = (
            judge_all_labels(run.data, request.cross_validate, run.config.run.seed)
            if request.cross_validate
            else find_suspects(run.data, splits, temperature)
        )
        report, images = name_images(
            {
                "made_by": MADE_BY,
                "made_of": made_of,
                **_describe_run(run),
                "networks": figures,
                **_describe_test(run, answers.test, measured),
                "cost": measure_cost(run, {file.name: file.tflite for file in files}),
                "data": {
                    "balance": describe_balance(run.data),
                    "label_errors": describe_label_errors(run.data, held_out),
                    "hardest": describe_hardest(run.data, keras),
                },
                "environment": describe_environment(),
            }
        )
        beside = {
            PAGE: write_page(report, images),
            PREDICTIONS: to_csv(describe_predictions(run.data, answers.test)),
            LABEL_ERRORS: to_csv(list_label_errors(run.data, held_out)),
        }
        out.write({**beside, REPORT: with_checksums(report, beside)})
    return report


def _describe_ingredients(
    run: FinishedRun,
    files: Sequence[DeployedFile],
    measured: Sequence[DeployedFile],
    prepared: Sequence[str],
    request: Request,
) -> dict[str, Any]:
    """Build all that the figures are a function of."""
    return {
        "figures": FIGURES,
        "directory": run.directory.path.resolve().name,
        "processor": describe_environment()["processor"],
        "model_crc32": crc32(run.directory.model.read_bytes()),
        "files_crc32": {file.name: file.tflite.crc32 for file in files},
        "measured": ["keras", *(file.name for file in measured)],
        "flip": request.flip,
        "cross_validate": request.cross_validate,
        "corrupted": request.corrupted,
        "prepared_corruptions": prepared,
    }


def _check_accuracy(run: FinishedRun, test: Answers) -> None:
    received = float(test.right.mean())
    if not run.is_reproduced_by(received):
        recorded = run.metrics["test"]["accuracy"]
        raise UserError(
            f"{run.directory.model} must have the run's test accuracy of "
            f"{recorded:.2%}; it has {received:.2%}"
        )


def _answer_calibration(run: FinishedRun, keras: Network) -> dict[str, Answers]:
    """Answer for the calibration split, which a small set does not have."""
    examples = run.data.examples("calibration")
    return {"calibration": answer_alone(keras, examples, "calibration images")} if len(examples) else {}


def _describe_run(run: FinishedRun) -> dict[str, Any]:
    values = run.config.values()
    named = ("data", "model", "width", "image_size", "seed", "epochs")
    return {
        "run": {
            "directory": run.directory.path.resolve().name,
            **{name: values[name] for name in named},
            "recorded_test_accuracy": run.metrics["test"]["accuracy"],
            "test_fingerprint": run.splits["test"]["fingerprint"],
        },
        "class_names": list(run.class_names),
        "chance": 1 / len(run.class_names),
        "images": {name: len(rows) for name, rows in vars(run.data.splits).items()},
    }


def _describe_test(
    run: FinishedRun, test: dict[str, Answers], measured: Sequence[DeployedFile]
) -> dict[str, Any]:
    """Describe images of test: what broke, mistakes, confused classes, explanations."""
    layer, explainers = explained_layer(run.network), build_explainers(run.network, measured)
    return {
        "quantised": describe_exported(run.data, test, explainers),
        "mistakes": describe_mistakes(run.data, test),
        "confused_pairs": describe_confused_pairs(run.data, test),
        "explanation": describe_explanation(run.data, test, layer, explainers, run.config.run.seed),
    }
