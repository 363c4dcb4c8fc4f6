"""What an export wrote, proven by a list in each of its folders: nothing else is ever removed."""

import contextlib
import re
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files.json_file import read_json
from pipeline.files.own_files import (
    LIST,
    find_files,
    find_others,
    is_regular,
    list_files,
    read_list,
    write_list,
)

REPORT, MADE_BY = "report.json", "made_by"
"""A file of every bundle, and what is in it and in no other."""

COMMAND = "python -m export"
"""Whose list a list of files is."""

KNOWN = re.compile(
    r"(\.aside-)?((report|preprocessing)\.json|labels\.txt|model_card\.md|files\.png|run\.py"
    r"|model_(float32|float16|dynamic|int8|int16)\.(tflite|onnx)|[a-z0-9_]+_int8\.(h|cc))"
    r"|(web/)?golden/(\.aside-)?(README\.md|golden\.json|(in|out)put_\d\.bin|input_\d\.png|large\.(png|bin|json))"
    r"|micro/npu/(\.aside-)?[a-z0-9_]+\.(h|cc)"
    r"|micro/(\.aside-)?([a-z0-9_]+_int8(_\w+)?\.(h|cc)|main\.cc|preprocess\.[ch]|CMakeLists\.txt|library\.properties"
    r"|idf_component\.yml)|micro/examples/golden/(\.aside-)?golden\.ino"
    r"|web/(\.aside-)?(index\.html|(page|style)\.css|(page|ask|contract)\.js|model\.tflite|labels\.txt"
    r"|preprocessing\.json)|web/litert/(\.aside-)?((core|wasm-utils)\.js|litert_wasm\w+\.(js|wasm)|NOTICE\.txt)"
    r"|saved_model/(saved_model|fingerprint)\.pb(\.tmp\w+)?"
    r"|saved_model/variables/variables(\.index|\.data-[-of\d]+|_temp/.+)(\.tempstate\d+)?"
)
"""Files of bundles that have no list: of earlier versions, and of exports that were killed."""

CACHE = re.compile(r"__pycache__/run\.[\w.-]+\.pyc")
"""What Python leaves in a bundle whose run.py is imported."""

EMPTY = "saved_model/assets"
"""A folder of every SavedModel, for files that this one does not need."""

EVIDENCE = (
    "report.json",
    "report.md",
    "layers.png",
    "worst_saved_model.npz",
    "worst_saved_model.png",
    "worst_float32.npz",
    "worst_float32.png",
    "worst_onnx.npz",
    "worst_onnx.png",
    "worst_file.png",
)
"""What a failed export may leave."""


def foreign_files(folder: Path) -> list[str]:
    """Name the files in the folder of a bundle that no export wrote, or that were changed since."""
    listed = read_list(folder, COMMAND)
    # A kill may come while the list itself is written.
    unlisted = {EMPTY, f".aside-{LIST}"} if listed is None else {EMPTY, LIST, f".aside-{LIST}"}
    names = [name for name in find_files(folder) if name not in unlisted]
    if listed:
        kept = (name for name in names if not (CACHE.fullmatch(name) and is_regular(folder / name)))
        return find_others(folder, kept, listed)
    # An empty list is that of an export which was killed.
    ours = listed is not None or _has_report(folder)
    return [n for n in names if not (ours and KNOWN.fullmatch(n) and is_regular(folder / n))]


def _has_report(folder: Path) -> bool:
    try:
        return MADE_BY in read_json(folder / REPORT)
    except UserError:
        return False


def begin_list(folder: Path) -> None:
    """Mark a folder as an export's, with nothing in it that is whole yet."""
    write_list(folder, COMMAND, {})


def list_bundle(folder: Path) -> None:
    """List what an export that went well wrote into a folder."""
    names = [name for name in find_files(folder) if name not in (EMPTY, LIST)]
    write_list(folder, COMMAND, list_files(folder, names))


def foreign_evidence(failed: Path) -> list[str]:
    """Name what lies where the reasons of a failure go, and is none that an export left."""
    listed = read_list(failed, COMMAND)
    if listed is not None:
        return find_others(failed, EVIDENCE, listed)
    names = find_files(failed)
    try:
        # Earlier versions kept no list.
        ours = "int8_tried" in read_json(failed / REPORT) and set(names) <= set(EVIDENCE)
    except UserError:
        ours = False
    return [] if ours else [name for name in names if name in (*EVIDENCE, LIST)]


def remove_evidence(failed: Path) -> None:
    """Remove what an earlier failure left, and nothing else that lies there."""
    for name in (*EVIDENCE, LIST):
        (failed / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        failed.rmdir()


def list_evidence(failed: Path) -> None:
    """List the reasons that an export left, so that the next one may remove them."""
    left = [name for name in EVIDENCE if (failed / name).exists()]
    if left:
        # On a full disk the failure itself must be told, and not this one.
        with contextlib.suppress(OSError, UserError):
            write_list(failed, COMMAND, list_files(failed, left))
