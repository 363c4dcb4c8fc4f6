"""What the networks of a run answer, and the figures of each."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.corruptions.corrupt import CORRUPTIONS, SEVERITIES, Corrupted, corrupt_images
from evaluation.corruptions.prepared import find_prepared, read_prepared
from evaluation.metrics.accuracy import measure_accuracy
from evaluation.metrics.answers import Answers
from evaluation.metrics.calibration import measure_calibration
from evaluation.metrics.intervals import RESAMPLES, as_json, share
from evaluation.metrics.robustness import describe_robustness
from evaluation.networks.networks import Network, answer, with_mirror_image
from export.verify.comparison import paired_comparison
from pipeline.console.progress import Progress
from pipeline.data.batches import Examples, build_evaluation_batches, load_images
from pipeline.data.splits import fingerprint
from pipeline.finished_run import FinishedRun

BATCH = 128

Right = dict[str, dict[str, list[np.ndarray]]]
"""Network -> corruption -> for each severity whether each image is answered rightly, bool [images]."""


@dataclass(frozen=True)
class RunAnswers:
    """What the networks of a run answer, each by its name; test is what they are tested on.

    Attributes:
        validation: for the validation images.
        test: for the test images.
        mirrored: for them, averaged with their mirror images; of no network where that was not asked for.
        drawn: int64 [drawn], places in test of the images that were corrupted.
        corrupted: for them; of no network where there are none.
        prepared: for those of CIFAR-10-C; of no network where they are not looked at.
    """

    validation: dict[str, Answers]
    test: dict[str, Answers]
    mirrored: dict[str, Answers]
    drawn: np.ndarray
    corrupted: Right
    prepared: Right


def prepared_corruptions(run: FinishedRun, corrupted: int) -> list[str]:
    """Name the corruptions of the prepared CIFAR-10-C that fit the run, if anything is corrupted."""
    values = run.config.values()
    fits = (values["data"], values["image_size"]) == ("cifar10", 32)
    return find_prepared() if corrupted and fits else []


def answer_all(
    networks: Sequence[Network],
    validation: Examples,
    test: Examples,
    flip: bool,
    corrupted: int,
    prepared: Sequence[str],
) -> RunAnswers:
    """Let every network answer for every image, as it is, mirrored and corrupted.

    Args:
        networks: Keras', then those of exported files.
        validation: the run's.
        test: the images to test on.
        flip: whether flip test-time augmentation is measured too.
        corrupted: images of test that every corruption is applied to, at most.
        prepared: corruptions of the prepared CIFAR-10-C that are measured too.
    """
    # A function of test alone, so that runs on the same test see the same images.
    drawn_by = zlib.crc32(fingerprint(test.source, test.rows).encode())
    drawn = np.sort(np.random.default_rng(drawn_by).permutation(len(test))[:corrupted])
    cells = (len(CORRUPTIONS) + len(prepared)) * len(SEVERITIES)
    total = len(networks) * (len(validation) + len(test) * (1 + flip) + cells * len(drawn))
    mirrored = [with_mirror_image(network) for network in networks] if flip else []
    right: Right = {}
    prepared_right: Right = {}
    with Progress(total, "evaluating", "answers") as progress:
        of_validation = answer_examples(networks, validation, progress)
        of_test = answer_examples(networks, test, progress)
        of_mirrored = answer_examples(mirrored, test, progress) if flip else {}
        if len(drawn):
            rows = test.rows[drawn]
            images = load_images(Examples(test.source, rows, test.image_size))
            load = corrupt_images(images, test.source.labels[rows], drawn_by)
            right = _answer_corrupted(networks, list(CORRUPTIONS), load, progress)
        if prepared:
            load = read_prepared(len(drawn), drawn_by)
            prepared_right = _answer_corrupted(networks, prepared, load, progress)
    return RunAnswers(of_validation, of_test, of_mirrored, drawn, right, prepared_right)


def answer_examples(
    networks: Sequence[Network], examples: Examples, progress: Progress
) -> dict[str, Answers]:
    """Let every network answer for the images of a split: name -> answers."""
    batches = build_evaluation_batches(examples, global_batch_size=BATCH)
    images = (images for images, _, _ in batches.as_numpy_iterator())
    labels = examples.source.labels[examples.rows]
    answers = answer(networks, images, labels, progress)
    return {network.name: each for network, each in zip(networks, answers, strict=True)}


def answer_alone(network: Network, examples: Examples, label: str) -> Answers:
    """Let one network answer, under a progress bar of that label."""
    with Progress(len(examples), label, "images") as progress:
        return answer_examples([network], examples, progress)[network.name]


def _answer_corrupted(
    networks: Sequence[Network], names: Sequence[str], corrupted: Corrupted, progress: Progress
) -> Right:
    """Let every network answer for the same images under every corruption at every severity."""
    right: Right = {network.name: {name: [] for name in names} for network in networks}
    for name in names:
        for severity in SEVERITIES:
            answers = answer(networks, *corrupted(name, severity), progress)
            for cells, answered in zip(right.values(), answers, strict=True):
                cells[name].append(answered.right)
    return right


def describe_networks(
    run: FinishedRun, networks: Sequence[Network], answers: RunAnswers, resamples: int = RESAMPLES
) -> dict[str, dict[str, Any]]:
    """Build the figures of every network by its name.

    Args:
        run: the finished run.
        networks: those that answered.
        answers: theirs.
        resamples: of every bootstrap.
    """
    seed, described = run.config.run.seed, {}
    with Progress(len(networks), "computing intervals", "networks") as progress:
        for network in networks:
            name = network.name
            test, validation = answers.test[name], answers.validation[name]
            clean = test.take(answers.drawn)
            described[name] = {
                "file": network.file,
                "folded_temperature": network.folded_temperature,
                "accuracy": measure_accuracy(test, run.class_names, seed, resamples),
                "flip": _describe_flip(test, answers.mirrored.get(name)),
                "calibration": measure_calibration(test, validation, seed, resamples),
                "robustness": _describe_robustness(clean, answers.corrupted.get(name), seed, resamples),
                "prepared_robustness": _describe_robustness(
                    test, answers.prepared.get(name), seed, resamples
                ),
            }
            progress.update(1)
    return described


def _describe_flip(plain: Answers, mirrored: Answers | None) -> dict[str, Any] | None:
    if mirrored is None:
        return None
    difference = paired_comparison(plain.labels, plain.logits, mirrored.logits)
    low, high = difference.interval
    return {
        **as_json({"top1": share(mirrored.right.sum(), len(mirrored))}),
        "change_points": -difference.drop,
        "change_interval_95_points": [-high, -low],
    }


def _describe_robustness(
    clean: Answers, right: Mapping[str, Sequence[np.ndarray]] | None, seed: int, resamples: int
) -> dict[str, Any] | None:
    return describe_robustness(clean.right, right, seed, resamples) if right else None
