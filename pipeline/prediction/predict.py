"""One pass of a network over image files: what it answers is written as it comes."""

import sys
from dataclasses import dataclass

import numpy as np

from pipeline.console.prediction_request import Request
from pipeline.console.progress import Progress
from pipeline.console.run_command import failure_of
from pipeline.data.class_names import shown
from pipeline.data.decoding.image_formats import READ
from pipeline.data.folders.check import check_file
from pipeline.errors import UserError, printable
from pipeline.files.csv_file import to_csv, write_csv
from pipeline.prediction.answers import Wording, build_wording
from pipeline.prediction.classifier import Classifier, build_classifier
from pipeline.prediction.image_files import UNKNOWN, FoundImages, find_images, read_batches
from pipeline.prediction.model_file import ModelFile, warn_of_numbers

SHOWN_FILES = 3


@dataclass(frozen=True)
class Answered:
    """What came out for the images that could be read.

    Attributes:
        class_names: label -> name.
        labels: int64 [answered], of the folders, `UNKNOWN` where an image lies in none.
        predicted: int64 [answered].
        confidence: float32 [answered], probability of what was predicted.
        unreadable: number of images without an answer.
    """

    class_names: tuple[str, ...]
    labels: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    unreadable: int


def predict(request: Request, model: ModelFile) -> Answered | None:
    """Classify images and write the answers; on stderr what was passed over or cannot be read.

    Returns:
        What came out; None where whoever read stdout, as `head` does, has left before the end.

    Raises:
        UserError: the model or a folder cannot be used, --top is more than the classes, or stdout
            takes no more.
    """
    classifier = build_classifier(model)
    names = classifier.class_names
    warn_of_numbers(model)
    wording = build_wording(names, request.top, request.unsure)
    found = find_images(request.images, names)
    _tell_passed_over(found.passed_over)
    classified = _classify(classifier, found, wording, request)
    if classified is None:
        return None
    predicted, confidence = classified
    is_answered = predicted != UNKNOWN
    unreadable = np.flatnonzero(~is_answered)
    for path in (found.paths[place] for place in unreadable):
        print(f"error: {printable(shown(path))}: {check_file(path).problem}", file=sys.stderr)
    return Answered(
        names, found.labels[is_answered], predicted[is_answered], confidence[is_answered], len(unreadable)
    )


def prints_csv(request: Request) -> bool:
    """Whether stdout takes the answers as CSV, and nothing else."""
    return request.csv is None and not sys.stdout.isatty()


def _classify(
    classifier: Classifier, found: FoundImages, wording: Wording, request: Request
) -> tuple[np.ndarray, np.ndarray] | None:
    """Answer and write.

    Returns:
        What is predicted, int64 [images], `UNKNOWN` where there is no answer; and its probability.
        None where nobody reads on.
    """
    predicted = np.full(len(found.paths), UNKNOWN)
    confidence = np.zeros(len(found.paths), np.float32)
    paths = [shown(path) for path in found.paths]
    labels = ["" if label == UNKNOWN else classifier.class_names[label] for label in found.labels]
    path_width = max(len(printable(path)) for path in paths)
    rows = [wording.header()]
    with Progress(len(paths), "classifying", "images", stream=sys.stderr) as progress:
        for places, pixels in read_batches(found.paths, classifier.image_size, classifier.reading):
            places = places.numpy()
            probabilities = classifier.predict(pixels.numpy())
            predicted[places], confidence[places] = probabilities.argmax(axis=1), probabilities.max(axis=1)
            answers = list(zip(places, wording.rank(probabilities), strict=True))
            if request.csv is None and not prints_csv(request):
                lines = [wording.line(paths[place], path_width, ranked) for place, ranked in answers]
                progress.line("\n".join(lines))
            else:
                rows += [wording.cells(paths[place], labels[place], ranked) for place, ranked in answers]
            if prints_csv(request):
                print(to_csv(rows), end="", flush=True)
                rows.clear()
                if isinstance(failure := failure_of(sys.stdout), BrokenPipeError):
                    return None
                if failure:
                    raise UserError(f"stdout must take the answers; {failure.strerror}")
            progress.update(int(places[-1]) + 1 - progress.done)
    if request.csv is not None:
        write_csv(request.csv, rows)
        print(f"{np.sum(predicted != UNKNOWN):,} answers are in {request.csv}")
    elif rows and prints_csv(request):
        # No image could be read: the header alone.
        print(to_csv(rows), end="", flush=True)
    return predicted, confidence


def _tell_passed_over(paths: list[bytes]) -> None:
    if not paths:
        return
    names = ", ".join(printable(shown(path)) for path in paths[:SHOWN_FILES])
    more = ", ..." if len(paths) > SHOWN_FILES else ""
    count = f"{len(paths):,} file{'s' * (len(paths) > 1)}"
    print(f"passed over {count}, none of them a {READ} image: {names}{more}", file=sys.stderr)
