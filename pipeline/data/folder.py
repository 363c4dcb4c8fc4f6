"""A folder of labelled images as a table: class folders, with or without split folders."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline.data.class_names import shown, verify_class_names
from pipeline.data.decode import verify_deep_ranges
from pipeline.data.folder_check import check_files, find_copies
from pipeline.data.folder_layout import (
    entries,
    find_split_folders,
    is_visible,
    listed,
    refuse_hidden_splits,
    unreadable,
)
from pipeline.data.split_names import SPLITS
from pipeline.data.table import EncodedImages, Source
from pipeline.errors import UserError
from pipeline.files.csv_file import write_csv

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

    Either `path/CLASS/...`, which provides train alone, or `path/SPLIT/CLASS/...` with splits as
    `split_of` names them. Class folders may nest deeper; what operating systems leave behind is
    ignored. Rows are ordered by split, class and path, so that the table is a function of the
    folder's content. Damaged files, side files (annotations, notes) and copies (see
    `find_copies`) are left out and listed in `problems`.

    Args:
        path: the folder.
        max_bad_share: largest share of damaged files, in [0, 1]. Copies and side files are not damage.

    Raises:
        UserError: no such folder, neither layout, too few classes or images, too much damage, or
            16-bit images that would become one shade.
    """
    root = real_path(path)
    files = list_files(root)
    checked = check_files(root, files.paths)
    _refuse_damage(root, files.paths, checked.damage, len(checked.side_files), max_bad_share)
    unusable = checked.damage | checked.side_files
    readable = np.setdiff1d(np.arange(len(files.paths)), list(unusable))
    digests = checked.digests
    copies = find_copies(readable, digests, files.labels, files.splits, files.paths)
    kept = np.setdiff1d(readable, list(copies))
    _refuse_few_images(root, files, kept)
    if deep := checked.deep_ranges:
        verify_deep_ranges(deep.values(), f"{shown(root)!r}, as {shown(files.paths[min(deep)])!r}")

    left_out = {files.paths[row]: problem for row, problem in (unusable | copies).items()}
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
        UserError: not a readable folder, neither layout, fewer than two classes, a class that is
            not in train, names of classes that look the same, or splits that would pass for classes.
    """
    split_folders, stray = find_split_folders(root)
    class_names: list[bytes] = []
    paths: list[bytes] = []
    labels, splits = [], []
    for folder, split in split_folders:
        where = os.path.normpath(os.path.join(root, folder))
        names, files = entries(where)
        stray += [os.path.join(folder, name) for name in files]
        if split == 0:
            refuse_hidden_splits(where, names)
        class_names = class_names or names
        _refuse_classes(where, names, class_names, len(files))
        found_before = len(paths)
        for name in names:
            found = sorted(_files_below(root, os.path.join(folder, name)))
            paths += found
            labels.append(np.full(len(found), class_names.index(name)))
            splits.append(np.full(len(found), split))
        if len(paths) == found_before:
            raise UserError(f"a split must hold images in class folders; received none in {shown(where)!r}")
    verify_class_names(class_names, of=repr(shown(root)))
    return Files(class_names, paths, np.concatenate(labels), np.concatenate(splits), stray)


def _files_below(root: bytes, folder: bytes) -> Iterator[bytes]:
    """Yield the files at any depth below a folder, relative to `root`."""

    def refuse(error: OSError) -> None:
        raise unreadable(error) from None

    for parent, folders, names in os.walk(os.path.join(root, folder), onerror=refuse):
        folders[:] = filter(is_visible, folders)
        # A linked folder may lead back here, so it isn't walked; the check reports it as no file.
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        below = os.path.relpath(parent, root)
        yield from (os.path.join(below, name) for name in filter(is_visible, names + links))


def _encoded_images(root: bytes, paths: list[bytes]) -> EncodedImages:
    table = tf.constant(paths, tf.string)

    def read(row: tf.Tensor) -> tf.Tensor:
        return tf.io.read_file(tf.strings.join([root, tf.gather(table, row)], separator="/"))

    return EncodedImages(read)


def _refuse_classes(folder: bytes, names: list[bytes], class_names: list[bytes], files: int) -> None:
    if len(class_names) < 2:
        beside = f" beside {files:,} loose file{'s' * (files > 1)}" if files else ""
        deeper = entries(os.path.join(folder, names[0]))[0] if names else []
        hint = (
            f" (its {listed(deeper)}? --data folder:{shown(os.path.join(folder, names[0]))})"
            if deeper
            else ""
        )
        raise UserError(
            f"an image folder must hold at least 2 class folders; received {len(names)}{beside} in "
            f"{shown(folder)!r}{hint}"
        )
    if unknown := sorted(set(names) - set(class_names)):
        raise UserError(f"every class must be in train; received {listed(unknown)} only in {shown(folder)!r}")


def _refuse_damage(
    root: bytes, paths: list[bytes], damage: dict[int, str], side_files: int, max_bad_share: float
) -> None:
    candidates = len(paths) - side_files
    share = len(damage) / max(candidates, 1)
    if share > max_bad_share:
        first = "; ".join(f"{shown(paths[row])!r} {problem}" for row, problem in list(damage.items())[:3])
        raise UserError(
            f"--max-bad-share {max_bad_share:g} is the largest share of damaged files; received "
            f"{share:.3g} ({len(damage)} of {candidates}) in {shown(root)!r}: {first}"
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
            f"{counts[label]} of {name!r} in {shown(root)!r} (move the folder elsewhere if it is no class)"
        )
