"""JSON written for every reader, and read from any version of ours with its names and types held."""

import json
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.files.regular import open_regular
from pipeline.files.whole import write_text

EARLIER_NAMES = {
    "pictures": "images",
    "picture": "image",
    "test_pictures": "test_images",
    "validation_pictures": "validation_images",
}
"""What earlier versions called an entry of their JSON files -> what it is called now."""

JSON_KINDS = {
    **{int: "a whole number", float: "a number", str: "text"},
    **{dict: "an object", list: "a list", bool: "true or false"},
}
"""How the types of JSON are called."""

SHOWN = 60
"""Characters that a message shows of a value."""


def to_json(content: Any) -> str:
    """Return `content` as JSON that every reader takes.

    Raises:
        ValueError: a number is infinite or not a number, for which JSON has no word.
    """
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, content: Any) -> None:
    """Write `to_json(content)`; see `write_whole`."""
    write_text(path, to_json(content))


def parse_json(path: Path) -> Any:
    """Read any JSON from a regular file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON in UTF-8, or nested too deep.
    """
    with open_regular(path) as file:
        text = file.read().decode("utf-8")
    try:
        return _with_names_of_today(json.loads(text))
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def read_json(
    path: Path, needed: Collection[str] | Mapping[str, type] = (), of: str = "a run"
) -> dict[str, Any]:
    """Read an object from a JSON file of this or an earlier version.

    Args:
        path: the file.
        needed: names that it must have, `a.b` for the `b` in its `a`; in a mapping, name -> type
            of the value, where `float` is any finite number and `int` a whole one from 0.
        of: what the file is a part of.

    Raises:
        UserError: it is missing, damaged, or lacks a name, or a value is of another type.
    """
    rule = f"{of} must have a whole {path.name}"
    try:
        content = parse_json(path)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).partition("\n")[0]
        raise UserError(f"{rule}; {path}: {reason}") from None
    if not isinstance(content, dict):
        raise UserError(f"{rule}; {path} holds no object")
    verify_fields(content, needed, path, of)
    return content


def verify_fields(
    content: dict[str, Any], needed: Collection[str] | Mapping[str, type], path: Path, of: str = "a run"
) -> None:
    """Hold what was read from `path` to the names and types of `read_json`.

    Raises:
        UserError: a name is missing, or its value of another type.
    """
    rule = f"{of} must have a whole {path.name}"
    if missing := [name for name in needed if _look_up(content, name) is _MISSING]:
        raise UserError(f"{rule}; {path} lacks {', '.join(missing)}")
    if isinstance(needed, Mapping):
        for name, kind in needed.items():
            if not _is_a(value := _look_up(content, name), kind):
                shown = repr(value) if len(repr(value)) <= SHOWN else repr(value)[:SHOWN] + "..."
                raise UserError(f"{rule}; {name} in {path} must be {JSON_KINDS[kind]}, not {shown}")


_MISSING = object()


def _look_up(content: Any, name: str) -> Any:
    for part in name.split("."):
        if not isinstance(content, dict) or part not in content:
            return _MISSING
        content = content[part]
    return content


def _is_a(value: Any, kind: type) -> bool:
    if kind is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    if kind is int:
        return type(value) is int and value >= 0
    return isinstance(value, kind)


def _with_names_of_today(content: Any) -> Any:
    """Rename what earlier versions called otherwise, at any depth."""
    if isinstance(content, dict):
        return {EARLIER_NAMES.get(key, key): _with_names_of_today(value) for key, value in content.items()}
    return [_with_names_of_today(item) for item in content] if isinstance(content, list) else content
