"""A folder of labelled images as a table: class folders, with or without split folders."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline.data.folder_check import SPLITS, check_files, find_copies, shown
from pipeline.data.table import EncodedImages, Source
from pipeline.errors import UserError
from pipeline.files import write_csv

SPLIT_FOLDERS = {b"train": 0, b"validation": 1, b"val": 1, b"test": 2}
"""Folder name -> index into `SPLITS`."""

SPLIT_LOOKALIKES = {b"train", b"training", b"validation", b"valid", b"val", b"test", b"testing"}
LEFTOVERS = {b"thumbs.db", b"desktop.ini"}
MIN_IMAGES = 3
"""Least images of a class in train: one each to train on, to validate and to test with."""


@dataclass(frozen=True)
class Files:
    """Files of a folder, ordered by split, class and path.

    Attributes:
        class_names: label -> folder name.
        paths: relative to the folder.
        labels: int64 [files].
        splits: int64 [files], index into `SPLITS`.
        stray: relative paths of files that are in no class folder.
    """

    class_names: list[bytes]
    paths: list[bytes]
    labels: np.ndarray
    splits: np.ndarray
    stray: list[bytes]


def load_folder(path: Path, *, max_bad_share: float) -> Source:
    """Read a folder of class folders, checking every image first.

    Either `path/CLASS/...`, which provides train alone, or `path/SPLIT/CLASS/...` with the splits
    train, validation (or val) and test. Class folders may nest deeper; hidden files, Thumbs.db and
    desktop.ini are ignored. Rows are ordered by split, class and path, so that the table is a
    function of the folder's content. Damaged files and copies (see `find_copies`) are left out
    and listed in `problems`.

    Args:
        path: the folder.
        max_bad_share: largest share of damaged files, in [0, 1]. Copies are not damage.

    Raises:
        UserError: no such folder, neither layout, too few classes or images, or too much damage.
    """
    root = real_path(path)
    files = list_files(root)
    digests, damage = check_files(root, files.paths)
    _refuse_damage(root, files.paths, damage, max_bad_share)
    readable = np.setdiff1d(np.arange(len(files.paths)), list(damage))
    copies = find_copies(readable, digests, files.labels, files.splits, files.paths)
    kept = np.setdiff1d(readable, list(copies))
    _refuse_few_images(root, files, kept)

    left_out = {files.paths[row]: problem for row, problem in (damage | copies).items()}
    left_out |= dict.fromkeys(files.stray, "not in a class folder")
    splits = files.splits[kept]
    return Source(
        name=f"folder:{shown(os.fsencode(path))}",
        class_names=tuple(map(shown, files.class_names)),
        labels=files.labels[kept],
        digests=digests[kept],
        images=_encoded_images(root, [files.paths[row] for row in kept]),
        provided={SPLITS[split]: np.flatnonzero(splits == split) for split in np.unique(splits)},
        problems=tuple((shown(os.path.join(root, name)), left_out[name]) for name in sorted(left_out)),
        paths=tuple(shown(os.path.join(root, files.paths[row])) for row in kept),
    )


def real_path(folder: Path) -> bytes:
    """Resolve links and `~`; a home directory that there is not stays as it is written."""
    return os.path.realpath(os.path.expanduser(os.fsencode(folder)))


def write_problems(problems: Iterable[tuple[str, str]], path: Path) -> None:
    """Write `path,problem` rows as CSV, in whole."""
    write_csv(path, [("path", "problem"), *problems])


def list_files(root: bytes) -> Files:
    """List every file of either layout, without opening any.

    Raises:
        UserError: not a readable folder, neither layout, fewer than two classes, or a class that
            is not in train.
    """
    split_folders, stray = _split_folders(root)
    class_names: list[bytes] = []
    paths: list[bytes] = []
    labels, splits = [], []
    for folder, split in split_folders:
        where = os.path.normpath(os.path.join(root, folder))
        names, files = _entries(where)
        stray += [os.path.join(folder, name) for name in files]
        class_names = class_names or names
        _refuse_classes(where, names, class_names)
        found_before = len(paths)
        for name in names:
            found = sorted(_files_below(root, os.path.join(folder, name)))
            paths += found
            labels.append(np.full(len(found), class_names.index(name)))
            splits.append(np.full(len(found), split))
        if len(paths) == found_before:
            raise UserError(f"a split must hold images; received none in {shown(where)!r}")
    return Files(class_names, paths, np.concatenate(labels), np.concatenate(splits), stray)


def _split_folders(root: bytes) -> tuple[list[tuple[bytes, int]], list[bytes]]:
    """Return (folder that holds class folders, split) in split order, and files beside them."""
    folders, stray = _entries(root)
    known = [name for name in folders if name in SPLIT_FOLDERS]
    lookalike = bool(folders) and {name.lower() for name in folders} <= SPLIT_LOOKALIKES
    if not known and not lookalike:
        return [(b"", 0)], []
    splits = sorted((SPLIT_FOLDERS[name], name) for name in known)
    unique = len({split for split, _ in splits}) == len(folders)
    if b"train" not in known or not unique:
        raise UserError(
            "a folder of split folders must hold train, and may hold one of validation and val, "
            "and test, and no others (a class cannot have such a name); "
            f"received {_listed(folders)} in {shown(root)!r}"
        )
    return [(name, split) for split, name in splits], stray


def _entries(folder: bytes) -> tuple[list[bytes], list[bytes]]:
    """Return the sorted names of the folders and of the files in a folder, leaving out hidden."""
    try:
        with os.scandir(folder) as entries:
            visible = sorted((e.name, e.is_dir()) for e in entries if _is_visible(e.name))
    except OSError as error:
        raise _unreadable(error) from None
    return [name for name, is_dir in visible if is_dir], [n for n, is_dir in visible if not is_dir]


def _files_below(root: bytes, folder: bytes) -> Iterator[bytes]:
    """Yield the files at any depth below a folder, relative to `root`."""

    def refuse(error: OSError) -> None:
        raise _unreadable(error) from None

    for parent, folders, names in os.walk(os.path.join(root, folder), onerror=refuse):
        folders[:] = filter(_is_visible, folders)
        # A linked folder may lead back here, so it isn't walked; the check reports it as no file.
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        below = os.path.relpath(parent, root)
        yield from (os.path.join(below, name) for name in filter(_is_visible, names + links))


def _is_visible(name: bytes) -> bool:
    return not name.startswith(b".") and name.lower() not in LEFTOVERS


def _encoded_images(root: bytes, paths: list[bytes]) -> EncodedImages:
    table = tf.constant(paths, tf.string)

    def read(row: tf.Tensor) -> tf.Tensor:
        return tf.io.read_file(tf.strings.join([root, tf.gather(table, row)], separator="/"))

    return EncodedImages(read)


def _unreadable(error: OSError) -> UserError:
    return UserError(
        f"--data folder:PATH needs a readable folder; {shown(error.filename)!r}: {error.strerror}"
    )


def _listed(names: list[bytes]) -> str:
    """The first names, quoted; a folder may hold thousands."""
    return ", ".join(repr(shown(name)) for name in names[:5]) + (", ..." if names[5:] else "")


def _refuse_classes(folder: bytes, names: list[bytes], class_names: list[bytes]) -> None:
    if len(class_names) < 2:
        raise UserError(
            f"an image folder must hold at least 2 class folders; received {len(names)} in {shown(folder)!r}"
        )
    if unknown := sorted(set(names) - set(class_names)):
        raise UserError(
            f"every class must be in train; received {_listed(unknown)} only in {shown(folder)!r}"
        )


def _refuse_damage(root: bytes, paths: list[bytes], damage: dict[int, str], max_bad_share: float) -> None:
    share = len(damage) / len(paths)
    if share > max_bad_share:
        first = "; ".join(f"{shown(paths[row])!r} {problem}" for row, problem in list(damage.items())[:3])
        raise UserError(
            f"--max-bad-share {max_bad_share:g} is the largest share of damaged files; received "
            f"{share:.3g} ({len(damage)} of {len(paths)}) in {shown(root)!r}: {first}"
        )


def _refuse_few_images(root: bytes, files: Files, kept: np.ndarray) -> None:
    for split in np.unique(files.splits):
        if not np.any(files.splits[kept] == split):
            raise UserError(f"{SPLITS[split]} must hold readable images; received none in {shown(root)!r}")
    in_train = files.labels[kept][files.splits[kept] == 0]
    counts = np.bincount(in_train, minlength=len(files.class_names))
    label = int(np.argmin(counts))
    if counts[label] < MIN_IMAGES:
        name = shown(files.class_names[label])
        raise UserError(
            f"a class needs at least {MIN_IMAGES} readable images in train; received "
            f"{counts[label]} of {name!r} in {shown(root)!r}"
        )
