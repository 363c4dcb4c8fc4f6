"""A search as a whole: the limits that it keeps."""

import pytest

from pipeline.errors import UserError
from tests.tuning.samples import make_plan
from tuning.search import Search
from tuning.search_directory import SearchDirectory
from tuning.space.limits import Limits
from tuning.space.search_space import nearest_values


def search_within(tmp_path, **limits: float) -> Search:
    return Search(make_plan(limits=Limits(**limits)), SearchDirectory(tmp_path))


def resnet18_parameters(width: int) -> int:
    """Of a CIFAR ResNet-18 with 10 classes, by the shapes of He et al. 2015, table 1."""
    total, before = 3 * width * 9 + 2 * width, width
    for stage in range(4):
        channels = width * 2**stage
        for block in range(2):
            own = channels if block else before
            total += 9 * own * channels + 9 * channels**2 + 4 * channels
            if own != channels:
                total += own * channels + 2 * channels
        before = channels
    return total + before * 10 + 10


def test_a_search_begins_with_the_nearest_that_keeps_the_limits(tmp_path):
    search = search_within(tmp_path, max_parameters=resnet18_parameters(16) - 1)
    search.keep_limits()
    # Of 8, 16 and 32, where 16 is the preset's own.
    assert search.plan.space[0].choices == (8,)
    assert nearest_values(search.plan.space, search.plan.config)["width"] == 8


def test_what_is_just_allowed_stays(tmp_path):
    search = search_within(tmp_path, max_parameters=resnet18_parameters(16))
    search.keep_limits()
    assert search.plan.space[0].choices == (8, 16)


def test_limits_that_nothing_keeps_are_refused(tmp_path):
    search = search_within(tmp_path, max_parameters=100)
    rule = f"the smallest, width 8, has {resnet18_parameters(8):,} parameters, more than"
    with pytest.raises(UserError, match=rule):
        search.keep_limits()
