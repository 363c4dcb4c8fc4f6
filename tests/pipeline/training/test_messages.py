"""Whether a run that ended was still getting better."""

import pytest

from pipeline.training.messages import still_improves


@pytest.mark.parametrize(
    ("accuracies", "images", "improves"),
    [
        # The standard error of 0.5 on 100 images is 0.05.
        ([0.1, 0.2, 0.3, 0.4, 0.5], 100, True),
        ([0.1, 0.2, 0.3, 0.44, 0.5], 100, True),
        ([0.1, 0.2, 0.3, 0.46, 0.5], 100, False),
        ([0.1, 0.2, 0.3, 0.46, 0.5], 400, True),
        ([0.1, 0.6, 0.3, 0.4, 0.5], 100, False),
        # The last fifth of ten epochs is two of them.
        ([0.1] * 8 + [0.5, 0.4], 100, True),
        ([0.1] * 7 + [0.5, 0.4, 0.5], 100, False),
        ([0.1, 0.2, 0.3, 0.5], 100, False),
    ],
)
def test_a_run_still_improves_where_its_last_fifth_gains_more_than_noise(accuracies, images, improves):
    history = [{"val_accuracy": accuracy} for accuracy in accuracies]
    assert still_improves(history, images) is improves
