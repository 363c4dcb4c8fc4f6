"""JSON that every reader takes and of every version, and what is refused as none."""

import json
import math
import os

import pytest

from pipeline.errors import UserError
from pipeline.files.json_file import read_json, write_json


def test_json_is_written_as_people_read_it_and_read_back(path):
    content = {"images": 3, "names": ["é"]}
    write_json(path, content)
    assert path.read_text(encoding="utf-8") == '{\n  "images": 3,\n  "names": [\n    "é"\n  ]\n}\n'
    assert read_json(path, needed=["images"]) == content


@pytest.mark.parametrize("value", [object(), math.nan, math.inf])
def test_what_json_has_no_word_for_leaves_the_old_file(path, value):
    with pytest.raises((TypeError, ValueError)):
        write_json(path, {"accuracy": value})
    assert path.read_text() == "old"


def test_names_of_earlier_versions_are_read_as_those_of_today(path):
    write_json(path, {"test": {"pictures": 3}, "trials": [{"validation_pictures": 2, "trial": "pictures"}]})
    expected = {"test": {"images": 3}, "trials": [{"validation_images": 2, "trial": "pictures"}]}
    assert read_json(path) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "a bundle must have a whole file.txt; .*No such file"),
        ("{", "a bundle must have a whole file.txt; .*file.txt: "),
        (b"\xff", "a bundle must have a whole file.txt; .*file.txt: "),
        ("[1]", "a bundle must have a whole file.txt; .*file.txt holds no object"),
        ('{"b": 1}', "a bundle must have a whole file.txt; .*file.txt lacks a, c$"),
    ],
)
def test_json_that_is_damaged_or_lacks_a_name_is_a_user_error(path, text, reason):
    path.unlink()
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=reason) as raised:
        read_json(path, needed=["a", "b", "c"], of="a bundle")
    assert "\n" not in str(raised.value)


FIELDS = {"test.accuracy": float, "test.images": int, "name": str, "splits": dict, "classes": list}

WHOLE = {"test": {"accuracy": 1, "images": 0}, "name": "", "splits": {}, "classes": [], "more": None}


def test_json_whose_fields_have_their_types_is_read(path):
    write_json(path, WHOLE)
    assert read_json(path, FIELDS) == WHOLE


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"test": None}, "lacks test.accuracy, test.images"),
        ({"test": []}, "lacks test.accuracy, test.images"),
        ({"test": {"accuracy": 1.0}}, "lacks test.images"),
        ({"test": {"accuracy": "1", "images": 1}}, "test.accuracy in .* must be a number, not '1'"),
        ({"test": {"accuracy": True, "images": 1}}, "must be a number, not True"),
        ({"test": {"accuracy": math.nan, "images": 1}}, "must be a number, not nan"),
        ({"test": {"accuracy": 10**400, "images": 1}}, "must be a number, not 1000"),
        ({"test": {"accuracy": 1.0, "images": -1}}, "test.images in .* must be a whole number, not -1"),
        ({"test": {"accuracy": 1.0, "images": 1.5}}, "must be a whole number, not 1.5"),
        ({"name": 3}, "name in .* must be text, not 3"),
        ({"splits": [1]}, r"must be an object, not \[1\]"),
        ({"classes": {"a": "long " * 99}}, "must be a list, not {'a': .{,60}$"),
    ],
)
def test_json_whose_fields_have_another_type_is_a_user_error(path, change, reason):
    path.write_text(json.dumps({**WHOLE, **change}))
    with pytest.raises(UserError, match=rf"^a run must have a whole file\.txt; .*{reason}") as raised:
        read_json(path, FIELDS)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("nested", ["[" * 100_000 + "]" * 100_000, '{"a":' * 700 + "1" + "}" * 700])
def test_json_that_is_nested_too_deep_is_a_user_error(path, nested):
    path.write_text('{"a": ' + nested + "}")
    with pytest.raises(UserError, match=r"it is nested too deep$"):
        read_json(path)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_might_never_end_is_not_opened(path, make):
    path.unlink()
    make(path)
    with pytest.raises(UserError, match=r"file\.txt: it is no regular file$"):
        read_json(path)
