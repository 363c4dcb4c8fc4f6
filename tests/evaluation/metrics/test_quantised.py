"""An exported file beside Keras: eight images worked by hand."""

import numpy as np
import pytest

from evaluation.metrics.quantised import describe_quantised, newly_broken
from tests.evaluation.made_up import answers_of

LABELS = [0, 0, 0, 0, 1, 1, 3, 3]
KERAS = answers_of(
    LABELS,
    [
        [0.7, 0.1, 0.1, 0.1],  # right
        [0.9, 0.1, 0.0, 0.0],  # right
        [0.6, 0.4, 0.0, 0.0],  # right
        [0.1, 0.8, 0.1, 0.0],  # wrong
        [0.2, 0.8, 0.0, 0.0],  # right
        [0.5, 0.4, 0.1, 0.0],  # wrong
        [0.0, 0.1, 0.1, 0.8],  # right
        [0.0, 0.4, 0.3, 0.3],  # wrong
    ],
)
"""Five of eight are right; class 2 has no image."""

FILE = answers_of(
    LABELS,
    [
        [0.4, 0.5, 0.1, 0.0],  # lost
        [0.8, 0.2, 0.0, 0.0],  # right
        [0.4, 0.6, 0.0, 0.0],  # lost
        [0.1, 0.3, 0.6, 0.0],  # wrong in another way
        [0.6, 0.4, 0.0, 0.0],  # lost
        [0.4, 0.6, 0.0, 0.0],  # won
        [0.0, 0.1, 0.1, 0.8],  # right
        [0.0, 0.3, 0.3, 0.4],  # won
    ],
)
"""Three are lost and two won."""


def test_what_only_keras_gets_right_by_how_sure_it_was():
    # Of confidence 0.7, 0.6 and 0.8.
    np.testing.assert_array_equal(newly_broken(KERAS, FILE), [4, 0, 2])
    np.testing.assert_array_equal(newly_broken(FILE, KERAS), [5, 7])
    assert len(newly_broken(KERAS, KERAS)) == 0


def test_figures_by_hand():
    described = describe_quantised(KERAS, FILE, ("ant", "bee", "cat", "dog"))
    assert (described["lost"], described["won"]) == (3, 2)
    assert described["drop_points"] == pytest.approx(100 * 1 / 8)
    # Images 1 and 6 alone are answered alike.
    assert described["agreement"] == pytest.approx(2 / 8)
    # Agresti and Min 2005 with 3.5 and 2.5 of 10 images: 0.1 -+ 1.96 sqrt(6 - 0.1) / 10.
    reach = 1.959964 * np.sqrt(6 - 0.1) / 10
    expected = [100 * (0.1 - reach), 100 * (0.1 + reach)]
    assert described["drop_interval_95_points"] == pytest.approx(expected)


def test_classes_that_lost_most_come_first_and_those_without_images_not_at_all():
    classes = describe_quantised(KERAS, FILE, ("ant", "bee", "cat", "dog"))["classes"]
    assert [list(row.values())[:4] for row in classes] == [
        ["ant", 0.75, 0.25, -50.0],
        ["bee", 0.5, 0.5, 0.0],
        ["dog", 0.5, 1.0, 50.0],
    ]
    # Agresti and Min 2005, with half an image more in each of four cells: of ant's 4 images
    # 2 are lost and none is won, so 2.5 and 0.5 of 6.
    centre, reach = -(2.5 - 0.5), 1.959964 * np.sqrt(3 - 2**2 / 6)
    expected = [100 * (centre - reach) / 6, 100 * (centre + reach) / 6]
    assert classes[0]["change_interval_95_points"] == pytest.approx(expected)
    better = describe_quantised(FILE, KERAS, ("ant", "bee", "cat", "dog"))["classes"]
    assert [row["class"] for row in better] == ["dog", "bee", "ant"]
