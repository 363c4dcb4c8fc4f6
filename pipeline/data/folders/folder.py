"""A folder of labelled images as a table: class folders, with or without split folders."""

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.config.reading import READING, Reading
from pipeline.data.class_names import shown
from pipeline.data.copies import find_copies
from pipeline.data.decoding.deep_range import verify_deep_ranges
from pipeline.data.decoding.image_formats import ALL, NOT_READ
from pipeline.data.folders.check import Checked, check_files
from pipeline.data.folders.layout import (
    ClassFolders,
    find_class_folders,
    find_known_class_folders,
    real_path,
    walk_visible,
)
from pipeline.data.folders.paths import Names, Paths
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
        paths: relative to the folder.
        labels: int64 [files].
        splits: uint8 [files], index into `SPLITS`.
    """

    paths: Names
    labels: np.ndarray
    splits: np.ndarray


def load_folder(
    path: Path,
    *,
    max_bad_share: float,
    reading: Reading = READING,
    formats: dict[str, bytes] = ALL,
    by_pixels: bool = True,
) -> Source:
    """Read a folder of class folders, checking every image first.

    Either `path/CLASS/...`, which provides train alone, or `path/SPLIT/CLASS/...` with splits as
    `split_of` names them. Class folders may nest deeper; what operating systems leave behind is
    ignored. Rows are ordered by split, class and path, so that the table is a function of the
    folder's content. Damaged files, side files (annotations, notes) and copies (see
    `find_copies`) are left out and listed in `problems`; so are images in a format that is known and
    not read, which is said as well.

    Args:
        path: the folder.
        max_bad_share: largest share of files that are damaged or in a format that is not read, in
            [0, 1]. Copies and side files do not count.
        reading: how the files become what a network sees.
        formats: those that are read, as in `image_formats`.
        by_pixels: whether images are copies of each other where their pixels are equal, or their files.

    Raises:
        UserError: no such folder, neither layout, too few classes or images, too much damage, or
            16-bit images that would become one shade.
    """
    root = real_path(path)
    classes = find_class_folders(root)
    for note in classes.notes:
        print(note)
    source = _read_images(path, root, classes, max_bad_share, reading, formats, by_pixels)
    _refuse_few_images(root, classes, source)
    return source


def load_labelled_folder(path: Path, class_names: Sequence[str], reading: Reading = READING) -> Source:
    """Read class folders that are called as some of the given classes, to be tested on as a whole.

    Whatever is damaged, no image or a copy (see `find_copies`) is left out and listed in `problems`.

    Args:
        path: the folder.
        class_names: label -> name.
        reading: how the files become what a network sees.

    Raises:
        UserError: no such folder, a class folder of another name, or no readable image.
    """
    root = real_path(path)
    classes = find_known_class_folders(root, class_names)
    source = _read_images(path, root, classes, 1, reading, ALL, by_pixels=True)
    if not len(source.labels):
        raise UserError(f"--data must hold readable images; received none in {shown(root)!r}")
    labels = np.array([class_names.index(name) for name in source.class_names])[source.labels]
    every = {"test": np.arange(len(labels))}
    return dataclasses.replace(source, class_names=tuple(class_names), labels=labels, provided=every)


def _read_images(
    path: Path,
    root: bytes,
    classes: ClassFolders,
    max_bad_share: float,
    reading: Reading,
    formats: dict[str, bytes],
    by_pixels: bool,
) -> Source:
    """Check every file of the class folders and put what can be used into a table."""
    files = list_files(root, classes)
    checked = check_files(root, files.paths, formats)
    _refuse_damage(root, files.paths, checked, max_bad_share)
    for problem, count in Counter(checked.unread.values()).items():
        print(f"{shown(root)}: {count:,} left out: {problem}")
    unusable = checked.damage | checked.unread | checked.side_files
    readable = np.setdiff1d(np.arange(len(files.paths)), list(unusable))
    digests = checked.digests
    same = checked.pixels if by_pixels else digests
    copies = find_copies(readable, same, digests, files.labels, files.splits, files.paths)
    kept = np.setdiff1d(readable, list(copies))
    if deep := checked.deep_ranges:
        verify_deep_ranges(deep.values(), f"{shown(root)!r}, as {shown(files.paths[min(deep)])!r}")

    left_out = {files.paths[row]: problem for row, problem in (unusable | copies).items()}
    left_out |= dict.fromkeys(classes.stray, "not in a class folder")
    splits, paths = files.splits[kept], Paths(root, files.paths.take(kept))
    return Source(
        name=f"folder:{shown(os.fsencode(path))}",
        class_names=tuple(map(shown, classes.names)),
        labels=files.labels[kept],
        digests=digests[kept],
        images=EncodedImages(paths.reader()),
        provided={SPLITS[split]: np.flatnonzero(splits == split) for split in np.unique(splits)},
        problems=tuple((shown(os.path.join(root, name)), left_out[name]) for name in sorted(left_out)),
        paths=paths,
        reading=reading,
    )


def write_problems(problems: Iterable[tuple[str, str]], path: Path) -> None:
    """Write `path,problem` rows as CSV, in whole."""
    write_csv(path, [("path", "problem"), *problems])


def list_files(root: bytes, classes: ClassFolders) -> Files:
    """List every file of the class folders, without opening any.

    Raises:
        UserError: a folder cannot be read, or a split holds no file.
    """
    labels, splits = [], []

    def find() -> Iterator[list[bytes]]:
        for folder, split, names in classes.by_split:
            empty = True
            for name in names:
                found = sorted(_files_below(root, os.path.join(folder, name)))
                labels.append(np.full(len(found), classes.names.index(name)))
                splits.append(np.full(len(found), split, np.uint8))
                empty &= not found
                yield found
            if empty:
                where = shown(os.path.normpath(os.path.join(root, folder)))
                raise UserError(f"a split must hold images in class folders; received none in {where!r}")

    paths = Names.of(find())
    return Files(paths, np.concatenate(labels), np.concatenate(splits))


def _files_below(root: bytes, folder: bytes) -> Iterator[bytes]:
    """Yield the files at any depth below a folder, relative to `root`."""
    for parent, names in walk_visible(os.path.join(root, folder)):
        below = os.path.relpath(parent, root)
        yield from (os.path.join(below, name) for name in names)


def _refuse_damage(root: bytes, paths: Names, checked: Checked, max_bad_share: float) -> None:
    bad = checked.damage | checked.unread
    candidates = len(paths) - len(checked.side_files)
    share = len(bad) / max(candidates, 1)
    if share > max_bad_share:
        kinds = Counter(NOT_READ[problem] for problem in checked.unread.values())
        counts = [f"{len(checked.damage)} damaged"] if checked.damage and kinds else []
        counts += [f"{count} {name}" for name, count in kinds.items()]
        found = f"{len(bad)} of {candidates}" + (f": {', '.join(counts)}" if counts else "")
        # Of each kind of problem one file.
        first = {problem: paths[row] for row, problem in reversed(sorted(bad.items()))}
        some = "; ".join(f"{shown(path)!r} {problem}" for problem, path in [*first.items()][:-4:-1])
        raise UserError(
            f"--max-bad-share {max_bad_share:g} is the largest share of damaged files and of formats that "
            f"are not read; received {share:.3g} ({found}) in {shown(root)!r}: {some}"
        )


def _refuse_few_images(root: bytes, classes: ClassFolders, source: Source) -> None:
    for _, split, _ in classes.by_split:
        if SPLITS[split] not in source.provided:
            raise UserError(
                f"{SPLITS[split]} must hold readable images; received none in {shown(root)!r}"
                f"{_first_left_out(source.problems)}"
            )
    in_train = source.labels[source.provided["train"]]
    counts = np.bincount(in_train, minlength=len(source.class_names))
    label = int(np.argmin(counts))
    if counts[label] < MIN_IMAGES:
        name = source.class_names[label]
        own = [problem for problem in source.problems if f"/{name}/" in problem[0]]
        raise UserError(
            f"a class needs at least {MIN_IMAGES} readable images in train; received {counts[label]} of "
            f"{name!r} in {shown(root)!r}{_first_left_out(own)} (move the folder elsewhere if it is no class)"
        )


def _first_left_out(problems: Sequence[tuple[str, str]]) -> str:
    """Say which files do not count, where there are any: an image under two labels is under none."""
    if not problems:
        return ""
    path, problem = problems[0]
    return f"; {len(problems):,} left out, the first {path!r}: {problem}"
