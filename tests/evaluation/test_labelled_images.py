"""The score of labelled images: accuracy, interval, confusion."""

import numpy as np

from evaluation.labelled_images import describe_score
from pipeline.prediction.predict import Answered


def answered(labels: list[int], predicted: list[int], classes: int = 3) -> Answered:
    confidence = np.where(np.arange(len(labels)) % 2, 0.4, 0.8).astype(np.float32)
    names = tuple(f"class {k}" for k in range(classes))
    return Answered(names, np.array(labels), np.array(predicted), confidence, 0)


def test_accuracy_has_wilsons_interval_and_confusion_its_rows_by_label():
    lines = describe_score(
        answered([0, 0, 0, 1, 1, 1, 2, 2, 2, 2, -1], [0, 0, 1, 1, 1, 1, 2, 2, 2, 0, 0]), 0
    ).splitlines()
    # Wilson (1927) for 8 of 10: 0.4902 to 0.9433, as in Brown, Cai and DasGupta's formula.
    assert lines[0] == "accuracy 80.00 % (49.02 to 94.33) on 10 labelled images"
    assert lines[1] == "not scored: 1 images in no folder that is called as a class"
    assert [line.split()[-3:] for line in lines[-3:]] == [["2", "1", "0"], ["0", "3", "0"], ["1", "0", "3"]]


def test_what_it_is_sure_of_is_scored_by_itself():
    lines = describe_score(answered([0, 0, 1, 1], [0, 1, 1, 0]), 0.5).splitlines()
    assert lines[0].startswith("accuracy 50.00 % (")
    assert lines[1].startswith("where it is sure 100.00 % (")
    assert lines[1].endswith(" on 2")


def test_of_many_classes_the_most_frequent_mistakes_are_listed():
    labels, predicted = [5] * 3 + [7] * 4 + [9], [6] * 3 + [7] * 2 + [8] * 2 + [9]
    lines = describe_score(answered(labels, predicted, classes=40), 0).splitlines()
    assert lines[1:] == ["class 5 taken for class 6: 3", "class 7 taken for class 8: 2"]


def test_without_labels_there_is_no_score():
    assert describe_score(answered([-1, -1], [0, 1]), 0) == ""
