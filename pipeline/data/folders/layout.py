"""Where the class folders of an image folder lie, and what in it is neither image nor class."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pipeline.data.class_names import shown, verify_class_names
from pipeline.data.split_names import SPLITS, WORDS, split_of
from pipeline.errors import UserError

RESERVED = {b"train", b"validation", b"val", b"test"}
"""Names that no class can have beside other classes."""

CLASS_WORDS = WORDS.keys() - {"training", "testing"}
"""What may be the name of a class, where it isn't `RESERVED`: `valid` beside `invalid`, `Test`."""

LITTER = {
    *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "@eadir", "@tmp"),
    *("#recycle", "@recycle", "$recycle.bin", "system volume information", "lost+found", "__macosx"),
    *("__pycache__", "network trash folder", "temporary items"),
}
"""What Windows, macOS, Synology and others leave behind, in lower case; hidden names aside."""

SIDE_ENDINGS = {
    *(".txt", ".csv", ".tsv", ".xml", ".json", ".jsonl", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".md"),
    *(".rst", ".html", ".htm", ".log", ".db", ".url", ".lnk", ".xmp", ".aae", ".md5", ".sha1", ".sha256"),
    *(".py", ".ipynb", ".npy", ".npz", ".mat", ".pkl", ".pts"),
}
SIDE_NAMES = {"readme", "license", "licence", "copying", "checksums", "makefile"}
"""Annotations, notes and the like, which lie beside images on purpose."""


def real_path(folder: Path) -> bytes:
    """Resolve links and `~`; a home directory that there is not stays as it is written."""
    return os.path.realpath(os.path.expanduser(os.fsencode(folder)))


def is_visible(name: bytes) -> bool:
    """Whether a file or folder is more than litter of an operating system."""
    return not name.startswith(b".") and os.fsdecode(name).lower() not in LITTER


def is_side_file(path: bytes) -> bool:
    """Whether a file goes by its name for an annotation or a note; its content may be an image."""
    name = PurePosixPath(os.fsdecode(path).lower())
    return name.suffix in SIDE_ENDINGS or name.name in SIDE_NAMES


def entries(folder: bytes) -> tuple[list[bytes], list[bytes]]:
    """Return the sorted names of the visible folders and of the visible files in a folder.

    Raises:
        UserError: it cannot be listed.
    """
    try:
        with os.scandir(folder) as found:
            visible = sorted((e.name, e.is_dir()) for e in found if is_visible(e.name))
    except OSError as error:
        raise unreadable(error) from None
    return [name for name, is_dir in visible if is_dir], [n for n, is_dir in visible if not is_dir]


def unreadable(error: OSError) -> UserError:
    """Build the error for a folder that cannot be listed."""
    return UserError(f"a folder must be readable; {shown(error.filename)!r}: {error.strerror}")


def walk_visible(folder: bytes) -> Iterator[tuple[bytes, list[bytes]]]:
    """Yield a folder and those at any depth below, each with the names of what it holds beside folders.

    A linked folder may lead back here, so that it isn't walked: it is a name like a file's.

    Raises:
        UserError: one of them cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise unreadable(error) from None

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = filter(is_visible, folders)
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        yield parent, list(filter(is_visible, names + links))


class ClassFolders(NamedTuple):
    """What a folder holds, by the names of its folders alone.

    Attributes:
        names: of the classes, sorted.
        by_split: folder relative to the root, index into `SPLITS`, and its class folders.
        stray: files beside split or class folders, relative to the root.
        notes: what may not be as it was meant, a line each.
    """

    names: list[bytes]
    by_split: list[tuple[bytes, int, list[bytes]]]
    stray: list[bytes]
    notes: list[str]


def find_class_folders(root: bytes) -> ClassFolders:
    """Find the class folders of either layout; no image is looked at.

    Raises:
        UserError: not a readable folder, neither layout, fewer than two classes, a class that is
            not in train, names of classes that look the same, or splits that would pass for classes.
    """
    split_folders, stray = _find_split_folders(root)
    class_names: list[bytes] = []
    by_split, notes = [], []
    for folder, split in split_folders:
        where = os.path.normpath(os.path.join(root, folder))
        names, files = entries(where)
        stray += [os.path.join(folder, name) for name in files]
        if split == 0:
            notes = _refuse_hidden_splits(where, names)
        class_names = class_names or names
        _refuse_classes(where, names, class_names, len(files))
        by_split.append((folder, split, names))
    verify_class_names(class_names, of=repr(shown(root)))
    return ClassFolders(class_names, by_split, stray, notes)


def find_known_class_folders(root: bytes, class_names: Sequence[str]) -> ClassFolders:
    """Find class folders that are called as some of the given classes; no image is looked at.

    Raises:
        UserError: not a readable folder, no class folder, or one of another name.
    """
    names, files = entries(root)
    strange = [name for name in names if shown(name) not in class_names]
    if strange or not names:
        splits = [name for name in strange if split_of(os.fsdecode(name))]
        hint = f" (a split of a folder is --data {shown(os.path.join(root, splits[0]))})" if splits else ""
        raise UserError(
            f"--data must hold class folders called as classes of the run, {_quoted(class_names)}; received "
            f"{_listed(strange) if strange else 'none'} in {shown(root)!r}{hint}"
        )
    return ClassFolders(names, [(b"", 0, names)], files, [])


def _find_split_folders(root: bytes) -> tuple[list[tuple[bytes, int]], list[bytes]]:
    """Find the folders that hold class folders.

    Returns:
        (folder relative to `root`, index into `SPLITS`) in the order of splits: `root` itself as
        train where it has no split folders; and the files beside split folders.

    Raises:
        UserError: split folders without train, twice, or beside others.
    """
    folders, stray = entries(root)
    split = {name: SPLITS.index(found) for name in folders if (found := split_of(os.fsdecode(name)))}
    if not any(_claims_a_split(root, name) for name in split) and (len(split) < len(folders) or not folders):
        return [(b"", 0)], []
    others = [name for name in folders if name not in split]
    if others or 0 not in split.values() or len(set(split.values())) < len(split):
        what = "rename what to train on to train, and put what is of one split together"
        if others:
            what = (
                f"move {_listed(others)} elsewhere, call it as its split, or rename {_listed(list(split))} "
                "where that is a class"
            )
        raise UserError(
            "a folder of split folders must hold train, and may hold validation and test, each once, "
            f"and no others; received {_listed(folders)} in {shown(root)!r} ({what})"
        )
    return [(_class_parent(root, name), split[name]) for name in sorted(split, key=split.__getitem__)], stray


def _refuse_classes(folder: bytes, names: list[bytes], class_names: list[bytes], files: int) -> None:
    if len(class_names) < 2:
        beside = f" beside {files:,} loose file{'s' * (files > 1)}" if files else ""
        deeper = entries(os.path.join(folder, names[0]))[0] if names else []
        hint = (
            f" (its {_listed(deeper)}? --data folder:{shown(os.path.join(folder, names[0]))})"
            if deeper
            else ""
        )
        raise UserError(
            f"an image folder must hold at least 2 class folders; received {len(names)}{beside} in "
            f"{shown(folder)!r}{hint}"
        )
    if unknown := sorted(set(names) - set(class_names)):
        raise UserError(
            f"every class must be in train; received {_listed(unknown)} only in {shown(folder)!r}"
        )


def _listed(names: list[bytes]) -> str:
    """The first names, quoted; a folder may hold thousands."""
    return _quoted([shown(name) for name in names[:6]])


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (", ..." if names[5:] else "")


def _claims_a_split(root: bytes, name: bytes) -> bool:
    """Whether a folder with the name of a split must be one, and can't be a class of images."""
    may_be_a_class = os.fsdecode(name).lower() in CLASS_WORDS and name not in RESERVED
    return not may_be_a_class or bool(_folders_alone(os.path.join(root, name))[1])


def _class_parent(root: bytes, split_folder: bytes) -> bytes:
    """Return where a split's class folders lie: in seg_train/seg_train it is the inner one."""
    inside = entries(os.path.join(root, split_folder))
    return os.path.join(split_folder, split_folder) if inside == ([split_folder], []) else split_folder


def _folders_alone(folder: bytes) -> tuple[bytes, list[bytes]]:
    """Look for folders that hold nothing but folders.

    Returns:
        `folder` or, where it holds a single folder and no image, what that leads to in the same
        way; and the folders in there, none where images lie beside them.
    """
    try:
        with os.scandir(folder) as found:
            inside = []
            for entry in found:
                if is_visible(entry.name) and entry.is_dir(follow_symlinks=False):
                    inside.append(entry.name)
                elif is_visible(entry.name) and not is_side_file(entry.name):
                    return folder, []
    except OSError as error:
        raise unreadable(error) from None
    return _folders_alone(os.path.join(folder, inside[0])) if len(inside) == 1 else (folder, sorted(inside))


def _refuse_hidden_splits(root: bytes, folders: list[bytes]) -> list[str]:
    """Refuse folders that would pass for classes but hold splits, or the same classes each.

    Returns:
        A line about those that merely hold several folders and no images: all is one class.
    """
    inside = {}
    for name in folders:
        where, found = _folders_alone(os.path.join(root, name))
        if found:
            inside[name] = where, found
    of_splits = [name for name, (_, found) in inside.items() if _are_splits(found)]
    if len(of_splits) == 1:
        where = inside[of_splits[0]][0]
        raise UserError(
            f"class folders must hold images; {shown(where)!r} holds the splits "
            f"{_listed(inside[of_splits[0]][1])} (point there with --data folder:{shown(where)})"
        )
    if of_splits:
        raise UserError(
            f"split folders must hold the class folders; received them inside of {_listed(of_splits)} in "
            f"{shown(root)!r} (SPLIT/CLASS/... in place of CLASS/SPLIT/...)"
        )
    times = Counter(name.lower() for _, found in inside.values() for name in found)
    if sum(count > 1 for count in times.values()) > 1:
        alike = [name for name, (_, found) in inside.items() if any(times[n.lower()] > 1 for n in found)]
        shared = [name for name in inside[alike[0]][1] if times[name.lower()] > 1]
        raise UserError(
            f"class folders must hold images; {_listed(alike)} in {shown(root)!r} hold none but folders of "
            f"the same names, {_listed(shared)}, and look like splits or parts of one set (call them train, "
            f"validation and test, or use one: --data folder:{shown(inside[alike[0]][0])}; where they are "
            "classes, move their images up into them)"
        )
    if inside and len(folders) > 1:
        name, (_, found) = next(iter(inside.items()))
        more = f"; so it is with {len(inside) - 1:,} others" if len(inside) > 1 else ""
        return [f"{shown(root)}: the class {shown(name)!r} is all that {_listed(found)} in it hold{more}"]
    return []


def _are_splits(folders: list[bytes]) -> bool:
    meant = {split_of(os.fsdecode(name)) for name in folders} - {None}
    return "train" in meant and len(meant) > 1
