"""What is recorded of the machine."""

import os

import pytest

from pipeline.environment import describe_environment


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system holds no process to some cores")
def test_cores_are_those_that_may_be_computed_on():
    every = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(every)})
        assert describe_environment()["cores"] == 1
    finally:
        os.sched_setaffinity(0, every)
    assert describe_environment()["cores"] == len(every)
