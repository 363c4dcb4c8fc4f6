"""From a finished run to its report: answer, measure, explain, write."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.comparison import Compared, compare_runs
from evaluation.cross_validation import check_folds, judge_all_labels
from evaluation.data_errors import (
    HeldOut,
    describe_balance,
    describe_hardest,
    describe_label_errors,
    find_suspects,
)
from evaluation.explain.explanation import build_explainers, explained_layer
from evaluation.measurement import (
    RunAnswers,
    answer_all,
    answer_alone,
    describe_networks,
    prepared_corruptions,
)
from evaluation.metrics.answers import Answers
from evaluation.metrics.cost import TimedFiles, collect_timed_files, measure_cost
from evaluation.networks.deployed import DeployedFile, choose, load_deployed
from evaluation.networks.networks import Network, deployed_network, keras_network
from evaluation.new_images import NewImages, load_new_images
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
from pipeline.data.prepare import PreparedData
from pipeline.environment import describe_environment
from pipeline.errors import UserError
from pipeline.files.csv_file import to_csv
from pipeline.finished_run import FinishedRun, load_finished_run
from pipeline.run_directory import RunDirectory
from pipeline.tflite.file import crc32
from pipeline.training.resolve import images_in_place

FIGURES = 4
"""Counts up when a figure changes its meaning, its name or its place, so that reports are made anew."""


def evaluate(request: Request) -> None:
    """Report on the run that is asked for, or on each of several and on how they compare.

    Raises:
        UserError: a run, its bundle, the folder of new images or the place is wrong.
    """
    if len(request.runs) > 1:
        compare_runs(request, evaluate_to_compare)
        return
    (directory,) = request.runs
    out = ReportDirectory(request.out)
    run = load_finished_run(directory)
    report = evaluate_run(run, load_deployed(run, None), out, request)
    print_summary(report)
    print_next(report, directory.path, out.files)


def evaluate_to_compare(directory: RunDirectory, out: ReportDirectory, request: Request) -> Compared:
    """Measure a run to hold it beside others; a report that is there is not replaced by a poorer one.

    Raises:
        UserError: see `evaluate_run`.
    """
    run = load_finished_run(directory)
    files = load_deployed(run, None)
    timed = collect_timed_files(run, {file.name: file.tflite for file in files})
    asked = _as_full_as(out.made_of(), request, files)
    return Compared(evaluate_run(run, files, out, asked, timed), timed.files["int8"], timed.images)


def _as_full_as(earlier: Mapping[str, Any], request: Request, files: Sequence[DeployedFile]) -> Request:
    """Ask for what an earlier report has as well, so that nothing is lost where it must be made anew."""
    formats = request.formats or tuple(file.name for file in choose(files))
    measured = [name for name in earlier.get("measured", ()) if name in {file.name for file in files}]
    return dataclasses.replace(
        request,
        formats=tuple(dict.fromkeys([*measured, *formats])) or None,
        flip=request.flip or earlier.get("flip", False),
        cross_validate=max(request.cross_validate, earlier.get("cross_validate", 0)),
        corrupted=max(request.corrupted, earlier.get("corrupted", 0)),
    )


def evaluate_run(
    run: FinishedRun,
    files: Sequence[DeployedFile],
    out: ReportDirectory,
    request: Request,
    timed: TimedFiles | None = None,
) -> dict[str, Any]:
    """Measure a run and write its report, unless the one that is there still holds; return it.

    Args:
        run: the finished run.
        files: all that it was exported to.
        out: where its report goes.
        request: what was asked for.
        timed: its files to time, where they are known.

    Raises:
        UserError: the run, its bundle, the new images or the place is wrong, or its network is not
            the one that it measured.
    """
    measured = load_deployed(run, request.formats) if request.formats else choose(files)
    new = load_new_images(run, request.new_folder) if request.new_folder else None
    tested = new.data if new else run.data
    prepared = [] if new else prepared_corruptions(run, request.corrupted)
    made_of = _describe_ingredients(run, files, measured, prepared, request, new)
    if earlier := out.earlier(made_of):
        print(f"{out.report} is of this very network: it was not measured again")
        return earlier
    _check_same_images(out, made_of["tested_on"])
    check_folds(run.data, request.cross_validate)
    with out.open(), images_in_place():
        if out.report.exists():
            print(f"{out.report} is of other settings or files: it will be replaced")
        keras = keras_network(run.network, run.directory.model.name)
        networks = [keras, *map(deployed_network, measured)]
        validation, test = run.data.examples("validation"), tested.examples("test")
        answers = answer_all(networks, validation, test, request.flip, request.corrupted, prepared)
        if not new:
            _check_accuracy(run, answers.test["keras"])
        figures = describe_networks(run, networks, answers)
        held_out = (
            _suspect(tested, {"test": answers.test["keras"]}, figures)
            if new
            else _judge_own_images(run, request, keras, answers, figures)
        )
        timed = timed or collect_timed_files(run, {file.name: file.tflite for file in files})
        report, images = name_images(
            {
                "made_by": MADE_BY,
                "made_of": made_of,
                **_describe_run(run, tested),
                "new_images": new.describe() if new else None,
                "networks": figures,
                **_describe_test(run, tested, answers.test, measured),
                "cost": measure_cost(run, timed),
                "data": {
                    "balance": describe_balance(tested, "test" if new else "train"),
                    "label_errors": describe_label_errors(tested, held_out),
                    "hardest": None if new else describe_hardest(run.data, keras),
                },
                "environment": describe_environment(),
            }
        )
        beside = {
            PAGE: write_page(report, images),
            PREDICTIONS: to_csv(describe_predictions(tested, answers.test)),
            LABEL_ERRORS: to_csv(list_label_errors(tested, held_out)),
        }
        out.write({**beside, REPORT: with_checksums(report, beside)})
    return report


def _describe_ingredients(
    run: FinishedRun,
    files: Sequence[DeployedFile],
    measured: Sequence[DeployedFile],
    prepared: Sequence[str],
    request: Request,
    new: NewImages | None,
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
        "tested_on": new.identity() if new else None,
    }


def _check_same_images(out: ReportDirectory, tested_on: Mapping[str, str] | None) -> None:
    """Refuse to put a report in the place of one on other images.

    Raises:
        UserError: the report that is there is on another folder, or on test where this is not.
    """
    if not (there := out.made_of()):
        return
    was, now = (of["folder"] if of else "the test of the run" for of in (there.get("tested_on"), tested_on))
    if was != now:
        raise UserError(f"--out must not hold a report on other images; {out.path} has one on {was}")


def _judge_own_images(
    run: FinishedRun, request: Request, keras: Network, answers: RunAnswers, figures: Mapping[str, Any]
) -> HeldOut:
    """Look for wrong labels: among the images of all splits, or those that were not trained on."""
    if request.cross_validate:
        return judge_all_labels(run.data, request.cross_validate, run.config.run.seed)
    calibration = _answer_calibration(run, keras)
    splits = {"validation": answers.validation["keras"], **calibration, "test": answers.test["keras"]}
    return _suspect(run.data, splits, figures)


def _suspect(data: PreparedData, splits: Mapping[str, Answers], figures: Mapping[str, Any]) -> HeldOut:
    return find_suspects(data, splits, figures["keras"]["calibration"]["temperature"])


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


def _describe_run(run: FinishedRun, tested: PreparedData) -> dict[str, Any]:
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
        "images": {
            **{name: len(rows) for name, rows in vars(run.data.splits).items()},
            "test": len(tested.splits.test),
        },
    }


def _describe_test(
    run: FinishedRun, tested: PreparedData, test: dict[str, Answers], measured: Sequence[DeployedFile]
) -> dict[str, Any]:
    """Describe images of test: what broke, mistakes, confused classes, explanations."""
    layer, explainers = explained_layer(run.network), build_explainers(run.network, measured)
    return {
        "quantised": describe_exported(tested, test, explainers),
        "mistakes": describe_mistakes(tested, test),
        "confused_pairs": describe_confused_pairs(tested, test),
        "explanation": describe_explanation(tested, test, layer, explainers, run.config.run.seed),
    }
