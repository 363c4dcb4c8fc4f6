"""Folders of images as an engineer has them: a few hundred, some of them labelled wrongly.

    python -m benchmarks.image_folders DIR
    python -m benchmarks.image_folders DIR --cifar

DIR/images is to be trained on, DIR/unseen has other images with right labels, and DIR/wrong_labels.csv
tells which of DIR/images have wrong ones.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.drawn_images import SHORTER_SIDE, THINGS, draw_image
from benchmarks.measure import count
from pipeline.console.progress import Progress
from pipeline.console.quiet_start import load_tensorflow_quietly
from pipeline.console.run_command import DONE, run_command
from pipeline.errors import UserError
from pipeline.files.csv_file import read_csv, write_csv
from pipeline.files.place import check_can_be_made

DRAWN_IMAGES, DRAWN_UNSEEN, WRONG_SHARE = 600, 200, 0.06

CIFAR_CLASSES, CIFAR_IMAGES, CIFAR_UNSEEN = 5, 500, 500


@dataclass(frozen=True)
class ImageFolder:
    """Labelled images, and others to score a network on.

    Attributes:
        path: where they lie.
    """

    path: Path

    @property
    def images(self) -> Path:
        """To be trained on: a folder a class."""
        return self.path / "images"

    @property
    def unseen(self) -> Path:
        """With right labels: a folder a class."""
        return self.path / "unseen"

    @property
    def wrong_labels(self) -> Path:
        """Which images have wrong labels: path in `images`, label and right label."""
        return self.path / "wrong_labels.csv"

    def wrong_paths(self) -> set[str]:
        """Return the paths in `images` of those with wrong labels."""
        return {row["path"] for row in read_csv(self.wrong_labels)}


def write_drawn_folder(
    path: Path,
    seed: int,
    images: int = DRAWN_IMAGES,
    unseen: int = DRAWN_UNSEEN,
    shorter_side: tuple[int, int] = SHORTER_SIDE,
) -> ImageFolder:
    """Draw JPEGs of the `THINGS`, `WRONG_SHARE` of those to train on with the label of another class.

    Args:
        path: a new folder.
        seed: of everything in it.
        images: to be trained on, of each class as many as of the others.
        unseen: to score a network on.
        shorter_side: of an image, least and greatest, in pixels.
    """
    folder, generator = ImageFolder(path), np.random.default_rng(seed)
    things = np.concatenate([generator.permutation(np.arange(n) % len(THINGS)) for n in (images, unseen)])
    labels = things.copy()
    wrong = generator.choice(images, round(WRONG_SHARE * images), replace=False)
    labels[wrong] = (things[wrong] + generator.integers(1, len(THINGS), len(wrong))) % len(THINGS)
    names, wrong_labels = list(THINGS), [["path", "label", "right"]]
    with Progress(len(things), "drawing", "images") as progress:
        for number, (thing, label) in enumerate(zip(things, labels, strict=True)):
            own = np.random.default_rng((seed, number))
            file = Path(names[label], f"{number:04}.jpg")
            image = draw_image(names[thing], own, shorter_side)
            _save(
                image, (folder.images if number < images else folder.unseen) / file, int(own.integers(70, 96))
            )
            if thing != label:
                wrong_labels.append([file.as_posix(), names[label], names[thing]])
            progress.update(1)
    write_csv(folder.wrong_labels, wrong_labels)
    return folder


def write_cifar_folder(
    path: Path, seed: int, images: int = CIFAR_IMAGES, unseen: int = CIFAR_UNSEEN
) -> ImageFolder:
    """Write images of five of CIFAR-10's classes as PNGs, their labels as they are.

    Args:
        path: a new folder.
        seed: of the choice of classes and images.
        images: to be trained on, from CIFAR-10's train, of each class as many as of the others.
        unseen: to score a network on, from its test.

    Raises:
        UserError: CIFAR-10 is neither here nor can it be downloaded.
    """
    load_tensorflow_quietly()
    from pipeline.data.table import ArrayImages
    from pipeline.data.tfds import load_tfds

    source = load_tfds("cifar10")
    assert isinstance(source.images, ArrayImages)
    folder, generator = ImageFolder(path), np.random.default_rng(seed)
    for label in np.sort(generator.choice(len(source.class_names), CIFAR_CLASSES, replace=False)):
        for place, split, total in ((folder.images, "train", images), (folder.unseen, "test", unseen)):
            rows = source.provided[split]
            of_class = rows[source.labels[rows] == label]
            for row in generator.choice(of_class, total // CIFAR_CLASSES, replace=False):
                pixels = Image.fromarray(source.images.images[row])
                _save(pixels, place / source.class_names[label] / f"{row:05}.png")
    write_csv(folder.wrong_labels, [["path", "label", "right"]])
    return folder


def _save(image: Image.Image, file: Path, quality: int = 0) -> None:
    """Write a file; `quality` is a JPEG's."""
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file, quality=quality)


def main(arguments: list[str]) -> int:
    """Write a folder; return the exit code."""
    return run_command(_run, arguments, "interrupted; the folder is not whole")


def _run(given: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="a new folder")
    parser.add_argument("--seed", type=count, default=1, help="of everything in it (1)")
    parser.add_argument("--cifar", action="store_true", help="500 images of five of CIFAR-10's classes")
    arguments = parser.parse_args(given)
    if arguments.folder.exists():
        raise UserError(f"DIR must be new; received {arguments.folder}")
    check_can_be_made(arguments.folder, "DIR")
    write = write_cifar_folder if arguments.cifar else write_drawn_folder
    folder = write(arguments.folder, arguments.seed)
    print(f"{folder.images}: to be trained on; {folder.unseen}: others, with right labels")
    print(f"{folder.wrong_labels}: {len(folder.wrong_paths())} wrong labels")
    return DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
