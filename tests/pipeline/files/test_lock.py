"""A lock has one holder and is no link."""

import pytest

from pipeline.errors import UserError
from pipeline.files.lock import hold_lock


def test_a_lock_has_one_holder(path):
    lock = path.with_name("lock")
    with hold_lock(lock, "taken"), pytest.raises(UserError, match="taken"), hold_lock(lock, "taken"):
        pytest.fail("two holders")
    with hold_lock(lock, "taken"):
        pass


def test_a_lock_that_is_a_link_leaves_what_it_leads_to(path):
    path.with_name("lock").symlink_to("file.txt")
    with pytest.raises(UserError, match="must be no link"), hold_lock(path.with_name("lock"), "taken"):
        pytest.fail("held")
    assert path.read_text() == "old"
