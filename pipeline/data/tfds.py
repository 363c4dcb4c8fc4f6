"""Sets of TensorFlow Datasets: found, downloaded where need be, read from their TFRecord files."""

import dataclasses
import difflib
import os
import textwrap
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np

from pipeline.config.reading import READING, Reading
from pipeline.config.tfds_folder import tfds_folder
from pipeline.console.progress import Progress
from pipeline.data.class_names import MAX_LISTED, on_a_terminal, verify_class_names
from pipeline.data.copies import describe_copies
from pipeline.data.decoding.deep_range import verify_deep_ranges
from pipeline.data.digits import digest_images
from pipeline.data.records import ExampleKeys, decode_records, image_reader, is_labelled, scan_records
from pipeline.data.split_names import SPLITS, split_of
from pipeline.data.table import ArrayImages, EncodedImages, Source
from pipeline.errors import UserError

if TYPE_CHECKING:
    from tensorflow_datasets.core import DatasetBuilder

ARRAY_BYTES = 2**30
"""Images of one size are held in memory up to this many bytes."""

DOWNLOAD_HOSTS = {
    "cifar10": "https://www.cs.toronto.edu",
    "cifar100": "https://www.cs.toronto.edu",
    "imagenette": "https://s3.amazonaws.com",
}
PROBE_SECONDS = 4.0


class UnavailableData(UserError):
    """The data set is neither on this machine nor can it be fetched now."""


def load_tfds(name: str, reading: Reading = READING) -> Source:
    """Load a set of TensorFlow Datasets, downloading and preparing it where that is needed.

    The rows are train's in the order of its files, then validation's, then test's. A set without a
    labelled test split offers its validation split as test; a class without an image in train is
    none.

    Args:
        name: `SET`, `SET/CONFIG` or `SET:VERSION`, prepared under TFDS_DATA_DIR or, without that
            variable, under ~/tensorflow_datasets.
        reading: how the files in it become what a network sees.

    Raises:
        UnavailableData: it is neither prepared nor can it be downloaded.
        UserError: an unknown name, a set that is not of labelled images, damaged files, or
            16-bit images that would become one shade.
    """
    builder = open_builder(name)
    keys = example_keys(builder)
    prepare(builder, name)
    splits = choose_splits(builder, keys)
    infos = [builder.info.splits[split] for split in splits.values()]
    shards = {
        os.fspath(path): records
        for info in infos
        for path, records in zip(info.filepaths, info.shard_lengths, strict=True)
    }
    shape, total = builder.info.features[keys.image].shape, sum(shards.values())
    stored: ArrayImages | EncodedImages
    with Progress(total, f"reading {name}", "images") as progress:
        if None not in shape and total * shape[0] * shape[1] * 3 <= ARRAY_BYTES:
            stored, labels, deep = decode_records(shards, shape[:2], keys, progress, reading)
            digests = digest_images(stored.images)
        else:
            index, labels, digests, deep = scan_records(shards, keys, progress)
            stored = EncodedImages(image_reader(index, keys))
    verify_deep_ranges(deep, name)
    class_names = tuple(builder.info.features[keys.label].names)
    if wrong := set(np.unique(labels)) - set(range(len(class_names))):
        raise UserError(f"labels of {name} must be 0..{len(class_names) - 1}; received {min(wrong)}")
    verify_class_names([class_name.encode() for class_name in class_names], name)
    rows = np.split(np.arange(total), np.cumsum([info.num_examples for info in infos])[:-1])
    provided = dict(zip(splits, rows, strict=True))
    source = Source(name, class_names, labels, digests, stored, provided, reading=reading)
    source = keep_trainable_classes(source)
    for line in describe_copies(source):
        print(line)
    return source


def keep_trainable_classes(source: Source) -> Source:
    """Leave out the classes that train has no image of, saying so, and number the others anew.

    Images that other splits have of such a class stay in the table, in no split, with label -1.

    Raises:
        UserError: fewer than two classes are left.
    """
    kept = np.unique(source.labels[source.provided["train"]])
    left_out = [name for label, name in enumerate(source.class_names) if label not in kept]
    if len(kept) < 2:
        raise UserError(f"train must hold images of at least 2 classes; {source.name} has {len(kept)}")
    if not left_out:
        return source
    number = np.full(len(source.class_names), -1)
    number[kept] = np.arange(len(kept))
    labels = number[source.labels]
    provided = {split: rows[labels[rows] >= 0] for split, rows in source.provided.items()}
    names = ", ".join(map(on_a_terminal, left_out[:MAX_LISTED])) + ", ..." * (len(left_out) > MAX_LISTED)
    print(
        f"{source.name} has no image to train on of {len(left_out)} of its {len(source.class_names)} "
        f"classes, which are left out: {names} ({np.sum(labels < 0)} images of them in other splits)"
    )
    return dataclasses.replace(
        source,
        class_names=tuple(source.class_names[label] for label in kept),
        labels=labels,
        provided={split: rows for split, rows in provided.items() if len(rows)},
    )


def open_builder(name: str) -> "DatasetBuilder":
    """Open a TFDS builder by name, from TFDS's code or from prepared files.

    Raises:
        UserError: TFDS knows no such set, config or version, or its files cannot be read.
    """
    import tensorflow_datasets as tfds

    folder = tfds_folder()
    try:
        return tfds.builder(name, data_dir=folder)
    except Exception as error:  # TFDS raises errors of every kind for what it cannot open.
        known, base = tfds.list_builders(with_community_datasets=False), name.split("/")[0]
        if base in known and base != name:
            known = [f"{base}/{config}" for config in tfds.builder_cls(base).builder_configs]
        near = difflib.get_close_matches(name, [*known, "digits"], 1)
        hint = f"; did you mean {near[0]!r}?" if near and near != [name] else ""
        reason = (str(error) or repr(error)).splitlines()[0].rpartition('}": ')[2].split(". ")[0].rstrip(".")
        raise UserError(
            f"--data must be folder:PATH, digits or what TFDS can open in {folder}; "
            f"received {name!r}: {reason}{hint}"
        ) from error


def example_keys(builder: "DatasetBuilder") -> ExampleKeys:
    """Find which features of a set are the image and its label.

    Raises:
        UserError: the set is not one of uint8 images with one label each.
    """
    import tensorflow_datasets as tfds

    features, keys = builder.info.features, builder.info.supervised_keys
    if isinstance(keys, tuple) and len(keys) == 2 and all(str(key) in features for key in keys):
        image, label = (features[key] for key in keys)
        is_image = isinstance(image, tfds.features.Image) and image.np_dtype == np.uint8
        if is_image and isinstance(label, tfds.features.ClassLabel) and label.num_classes:
            return ExampleKeys(*keys)
    raise UserError(
        "a data set must have supervised keys (image of 8 bits a channel, class label); "
        f"{builder.info.full_name} has {keys}"
    )


def prepare(builder: "DatasetBuilder", name: str) -> None:
    """Make sure that the set lies on this machine, as TFRecord files.

    Raises:
        UnavailableData: it does not, and cannot be downloaded now.
        UserError: it is half there, or in another format.
    """
    if not builder.is_prepared():
        # TFDS would take any folder of that name for the finished set.
        if Path(builder.data_dir).exists():
            rule = "a prepared set must have dataset_info.json and features.json"
            raise UserError(f"{rule}; {builder.data_dir} is incomplete (delete it and run again)")
        download(builder, name)
    kind = builder.info.file_format.value
    if kind != "tfrecord":
        raise UserError(f"a set must be prepared as tfrecord; {builder.data_dir} holds {kind}")


def download(builder: "DatasetBuilder", name: str) -> None:
    """Download and prepare, after a brief probe: without a network TFDS retries for minutes."""
    root, by_hand = builder.data_dir_root, builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    archives = Path(root, "downloads", "manual")
    host = DOWNLOAD_HOSTS.get(builder.name, "https://storage.googleapis.com")
    ways = (
        f"set TFDS_DATA_DIR to a folder where it is prepared, run `tfds build {name}` where there "
        "is a network, or use --data folder:PATH or --data digits"
    )
    if by_hand and not (archives.is_dir() and any(archives.iterdir())):
        raise UnavailableData(
            f"{name} is not prepared in {root}, and its archives, which must be downloaded by "
            f"hand, are not in {archives}: {' '.join(by_hand.split())} Or {ways}"
        )
    if not by_hand and not reachable(host):
        raise UnavailableData(
            f"{name} is not prepared in {root}, and {host} cannot be reached to download it; "
            f"connect to a network and run again, {ways}"
        )
    try:
        builder.download_and_prepare()
    except Exception as error:  # Whatever fails in TFDS's download, the ways out are the same.
        reason = textwrap.shorten(str(error), 300)
        raise UnavailableData(f"{name} could not be prepared in {root}: {reason}; {ways}") from error


def reachable(host: str) -> bool:
    """Whether an HTTP server answers at `host` within seconds."""
    try:
        with urlopen(Request(host, method="HEAD"), timeout=PROBE_SECONDS):
            return True
    except HTTPError:
        return True  # An answer all the same.
    except (OSError, HTTPException):
        return False


def choose_splits(builder: "DatasetBuilder", keys: ExampleKeys) -> dict[str, str]:
    """Map train, validation and test, as far as there are, to the set's own splits.

    A set may call them as `split_of` knows them; what it holds beside them is said and not used.

    Raises:
        UserError: there is no train split, or a file of a split is missing.
    """
    splits, name = builder.info.splits, builder.info.full_name
    meant: dict[str, str] = {}
    # A split's own name before others for it; an empty one is none.
    for own in sorted(splits, key=lambda own: own not in SPLITS):
        if (split := split_of(own)) and splits[own].num_examples:
            meant.setdefault(split, own)
    if "train" not in meant:
        raise UserError(f"a data set must have a train split; {name} has {', '.join(splits)}")
    chosen = {split: meant[split] for split in SPLITS if split in meant}
    files = (path for own in chosen.values() for path in splits[own].filepaths)
    if missing := next((path for path in files if not path.exists()), None):
        raise UserError(f"a prepared set must have all its files; {missing} is missing")
    unlabelled = [
        chosen.pop(split)
        for split in ("validation", "test")
        if split in chosen and not is_labelled(splits[chosen[split]].filepaths[0], keys)
    ]
    if "validation" in chosen and "test" not in chosen:
        chosen["test"] = chosen.pop("validation")
        print(f"{name} has no labelled test split; its {chosen['test']} split is used")
    unused = [f"{own} (no labels)" if own in unlabelled else own for own in splits]
    if unused := [own for own in unused if own not in chosen.values()]:
        print(f"{name}: not used: {', '.join(unused)}")
    return chosen
