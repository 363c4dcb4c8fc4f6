"""What the networks of a run answer, and the figures of each."""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluation.corruptions import CORRUPTIONS, SEVERITIES
from evaluation.corruptions.prepared import find_prepared, read_prepared
from evaluation.metrics.accuracy import measure_accuracy
from evaluation.metrics.answers import Answers
from evaluation.metrics.calibration import measure_calibration
from evaluation.metrics.intervals import as_json, share
from evaluation.metrics.robustness import BATCH, Corrupted, corrupt_images, measure_robustness
from evaluation.networks.networks import Network, answer, with_mirror_image
from export.verify.comparison import paired_comparison
from pipeline.console.progress import Progress
from pipeline.data.batches import Examples, build_evaluation_batches, load_images
from pipeline.finished_run import FinishedRun


class Measurement:
    """The networks of a run, measured on its diagrams.

    Args:
        run: the finished run.
        networks: Keras', then those of exported files.
        corrupted: images of test that every corruption is applied to, at most.
        flip: whether flip test-time augmentation is measured too.

    Attributes:
        names: of the networks.
        prepared: corruptions of the prepared CIFAR-10-C that are measured too.
    """

    def __init__(self, run: FinishedRun, networks: Sequence[Network], corrupted: int, flip: bool) -> None:
        self._run, self._networks, self._flip = run, networks, flip
        self._seed = run.config.run.seed
        self.names = [network.name for network in networks]
        test = len(run.data.splits.test)
        # A function of test alone, so that runs on the same test see the same images.
        self._drawn_by = zlib.crc32(run.splits["test"]["fingerprint"].encode())
        drawn = np.random.default_rng(self._drawn_by).permutation(test)[:corrupted]
        self._corrupted = np.sort(drawn)
        values = run.config.values()
        fits_prepared = (values["data"], values["image_size"]) == ("cifar10", 32)
        self.prepared = find_prepared() if corrupted and fits_prepared else []
        corruptions = (len(CORRUPTIONS) + len(self.prepared)) * len(SEVERITIES)
        images = len(run.data.splits.validation) + test * (1 + flip)
        self._total = len(networks) * (images + corruptions * len(drawn))

    def answer(self) -> None:
        """Let every network answer for every image, as it is, mirrored and corrupted."""
        with Progress(self._total, "evaluating", "answers") as progress:
            self.validation = self._answer("validation", self._networks, progress)
            self.test = self._answer("test", self._networks, progress)
            if self._flip:
                mirrored = list(map(with_mirror_image, self._networks))
                self._flipped = self._answer("test", mirrored, progress)
            self._measure_robustness(progress)

    def _answer(self, split: str, networks: Sequence[Network], progress: Progress) -> dict[str, Answers]:
        return answer_examples(networks, self._run.data.examples(split), progress)

    def _measure_robustness(self, progress: Progress) -> None:
        nothing = [None] * len(self._networks)
        self._robustness = self._prepared_robustness = dict(zip(self.test, nothing, strict=True))
        if not len(self._corrupted):
            return
        test = self._run.data.examples("test")
        images = load_images(Examples(test.source, test.rows[self._corrupted], test.image_size))
        clean = [answers.take(self._corrupted) for answers in self.test.values()]
        corrupted = corrupt_images(images, clean[0].labels, self._drawn_by)
        self._robustness = self._measure_on(list(CORRUPTIONS), corrupted, clean, progress)
        if self.prepared:
            corrupted = read_prepared(len(self._corrupted), self._drawn_by)
            clean = list(self.test.values())
            self._prepared_robustness = self._measure_on(self.prepared, corrupted, clean, progress)

    def _measure_on(
        self, names: Sequence[str], corrupted: Corrupted, clean: Sequence[Answers], progress: Progress
    ) -> dict[str, dict[str, Any]]:
        figures = measure_robustness(self._networks, names, corrupted, clean, self._seed, progress)
        return dict(zip(self.test, figures, strict=True))

    def describe(self) -> dict[str, dict[str, Any]]:
        """Build the figures of every network by its name."""
        with Progress(len(self._networks), "computing intervals", "networks") as progress:
            described = {}
            for network in self._networks:
                described[network.name] = self._describe(network)
                progress.update(1)
        return described

    def _describe(self, network: Network) -> dict[str, Any]:
        test, validation = self.test[network.name], self.validation[network.name]
        accuracy = measure_accuracy(test, self._run.class_names, self._seed)
        return {
            "file": network.file,
            "folded_temperature": network.folded_temperature,
            "accuracy": accuracy,
            "flip": self._describe_flip(network.name) if self._flip else None,
            "calibration": measure_calibration(test, validation, self._seed),
            "robustness": self._robustness[network.name],
            "prepared_robustness": self._prepared_robustness[network.name],
        }

    def _describe_flip(self, name: str) -> dict[str, Any]:
        plain, flipped = self.test[name], self._flipped[name]
        low, high = (difference := paired_comparison(plain.labels, plain.logits, flipped.logits)).interval
        return {
            **as_json({"top1": share(flipped.right.sum(), len(flipped))}),
            "change_points": -difference.drop,
            "change_interval_95_points": [-high, -low],
        }


def answer_examples(
    networks: Sequence[Network], examples: Examples, progress: Progress
) -> dict[str, Answers]:
    """Let every network answer for the images of a split: name -> answers."""
    batches = build_evaluation_batches(examples, global_batch_size=BATCH)
    images = (images for images, _, _ in batches.as_numpy_iterator())
    labels = examples.source.labels[examples.rows]
    answers = answer(networks, images, labels, progress)
    return {network.name: each for network, each in zip(networks, answers, strict=True)}
