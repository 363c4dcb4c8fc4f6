"""A report as `python -m evaluation` writes it, of networks that do not exist."""

from collections.abc import Sequence

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from tests.evaluation.network_sample import accuracy, calibration, confusion, damaged, estimate, robustness

AWKWARD_NAMES = ('<b>bold</b> & "loud"', "$x_1$ and $y^2$", "an_unusually_long_class_name_of_a_thing")
PLAIN_NAMES = ("anchor", "kettle", "lantern", "marble", "oar", "pulley", "quill", "rake", "spool")


def class_names(classes: int) -> list[str]:
    names = [*PLAIN_NAMES[:1], *AWKWARD_NAMES, *PLAIN_NAMES[1:]]
    return (names + [f"thing_{number:04d}" for number in range(classes)])[:classes]


class Images:
    """Hands out entries of galleries, and keeps the images that they name."""

    def __init__(self, random: np.random.Generator, names: Sequence[str], side: int) -> None:
        self.random, self.names, self.side = random, names, side
        self.digits = load_digits().images
        self.images: dict[str, np.ndarray] = {}

    def _draw(self, key: str) -> str:
        digit = self.digits[self.random.integers(len(self.digits))] * (255 / 16)
        tint = self.random.uniform(0.6, 1, 3)
        pixels = (255 - digit[..., np.newaxis] * tint).astype(np.uint8)
        image = Image.fromarray(pixels).resize((self.side, self.side), Image.Resampling.BICUBIC)
        self.images[key] = np.array(image)
        return key

    def _overlay(self, key: str, below: str) -> str:
        """Tint a spot of the image `below`, as a heat map would."""
        rows, columns = np.mgrid[: self.side, : self.side] / self.side
        middle = self.random.uniform(0.3, 0.7, 2)
        heat = np.exp(-((rows - middle[0]) ** 2 + (columns - middle[1]) ** 2) / 0.05)[..., np.newaxis]
        colour = 255 * np.concatenate([heat, 0.3 + 0 * heat, 1 - heat], axis=-1)
        self.images[key] = (0.5 * self.images[below] + 0.5 * colour).astype(np.uint8)
        return key

    def image(self, *views: str, right: bool = False, **more: float | str) -> dict:
        label, other = self.random.choice(len(self.names), 2, replace=False)
        number = len(self.images)
        shown = {"image": self._draw(f"test-{number}")}
        for view in views:
            shown[view] = self._overlay(f"{view}-{number}", shown["image"])
        return {
            "split": "test",
            "row": int(self.random.integers(10_000)),
            "label": self.names[label],
            "predicted": self.names[label if right else other],
            "path": None,
            "confidence": float(self.random.uniform(0.7, 1)),
            "images": shown,
            **more,
        }


def quantised(names: Sequence[str], tables: Sequence[dict], images: Images) -> dict:
    def row(k: int) -> dict:
        before, after = (t["per_class"][k]["recall"]["value"] for t in tables)
        change = 100 * (after - before)
        return {
            "class": names[k],
            "keras": before,
            "quantised": after,
            "change_points": change,
            "change_interval_95_points": [change - 1.5, change + 1.5],
        }

    drop = 100 * (tables[0]["top1"]["value"] - tables[1]["top1"]["value"])
    known = [k for k in range(len(names)) if tables[0]["per_class"][k]["recall"]]
    rows = sorted(map(row, known), key=lambda r: r["change_points"])
    return {
        "drop_points": drop,
        "drop_interval_95_points": [drop - 0.5, drop + 0.5],
        "agreement": 0.9713,
        "lost": 162,
        "won": 125,
        "classes": rows,
        "broken": [images.image("keras", "int8") for _ in range(3)],
    }


def make_report(
    classes: int = 10,
    *,
    int8: bool = True,
    corrupted: bool = True,
    prepared: bool = False,
    flip: bool = True,
    explained: bool = True,
    mistaken: bool = True,
    empty_class: bool = False,
    side: int = 8,
    seed: int = 0,
) -> tuple[dict, dict[str, np.ndarray]]:
    """Make a report and its images.

    Args:
        classes: how many; the names of the second to fourth are awkward.
        int8: a second network, beside keras.
        corrupted: robustness to corruptions is measured.
        prepared: and that to the prepared data set.
        flip: flip test-time augmentation is measured.
        explained: there is Grad-CAM.
        mistaken: the network makes mistakes.
        empty_class: the first class has no image in the test split.
        side: of every image, pixels.
        seed: of all numbers.
    """
    random = np.random.default_rng(seed)
    names, each = class_names(classes), max(10_000 // classes, 10)
    images = Images(random, names, side)
    networks = {}
    for name in ("keras", "int8") if int8 else ("keras",):
        if name == "keras":
            counts = confusion(random, classes, each if mistaken else 0)
            counts += 0 if mistaken else each * np.eye(classes, dtype=int)
            counts[0] *= not empty_class
        else:
            counts = damaged(random, counts)
        table = accuracy(names, counts)
        top1 = table["top1"]["value"]
        networks[name] = {
            "folded_temperature": 1.0,
            "file": "model.keras" if name == "keras" else f"model_{name}.tflite",
            "accuracy": table,
            "flip": {
                "top1": estimate(top1 + 0.006),
                "change_points": 0.6,
                "change_interval_95_points": [0.21, 0.99],
            }
            if flip
            else None,
            "calibration": calibration(random, 5000),
            "robustness": robustness(random, top1) if corrupted else None,
            "prepared_robustness": robustness(random, top1) if prepared else None,
        }
    report = {
        "made_by": "python -m evaluation",
        "run": {
            "directory": "things",
            "data": "folder:things",
            "model": "resnet18",
            "width": 16,
            "image_size": side,
            "seed": 0,
            "epochs": 30,
            "recorded_test_accuracy": networks["keras"]["accuracy"]["top1"]["value"],
        },
        "class_names": names,
        "chance": 1 / classes,
        "images": {"train": 45_000, "validation": 5_000, "calibration": 1_000, "test": each * classes},
        "new_images": None,
        "networks": networks,
        "quantised": {"int8": quantised(names, [n["accuracy"] for n in networks.values()], images)}
        if int8
        else {},
        "mistakes": {name: [images.image() for _ in range(12 * mistaken)] for name in networks},
        "confused_pairs": confused_pairs(networks, images),
        "explanation": {
            "layer": "stage4_block2_relu2",
            "right": [images.image("keras", right=True) for _ in range(4)],
            "wrong": [images.image("its answer", "its label") for _ in range(4)],
        }
        if explained
        else None,
        "cost": cost(random, int8),
        "data": data(random, names, images),
        "environment": {
            "python": "3.11.2",
            "packages": {"keras": "3.15.1", "tensorflow": "2.21.0"},
            "processor": "A processor",
            "cores": 2,
        },
    }
    return report, images.images


def confused_pairs(networks: dict, images: Images) -> list[dict]:
    tables = {name: np.array(each["accuracy"]["confusion_matrix"]) for name, each in networks.items()}
    counts = tables["keras"]
    mistakes = counts - np.diag(counts.diagonal())
    order = [np.unravel_index(k, counts.shape) for k in np.argsort(-mistakes, axis=None)[:5]]
    return [
        {
            "label": images.names[label],
            "predicted": images.names[predicted],
            "images": {name: int(table[label, predicted]) for name, table in tables.items()},
            "share_of_label": {
                name: estimate(table[label, predicted] / table[label].sum()) for name, table in tables.items()
            },
            "examples": [images.image() for _ in range(4)],
        }
        for label, predicted in order
        if mistakes[label, predicted]
    ]


def timed(time: float | None) -> dict:
    return {"latency_p50_ms": time, "latency_interval_ms": time and [time - 0.012, time + 0.025]}


def cost(random: np.random.Generator, int8: bool) -> dict:
    names = [f"stage{s}_block{b}_conv{c}" for s in range(1, 5) for b in (1, 2, 3) for c in (1, 2)]
    counts = random.integers(200_000, 3_000_000, len(names))
    files = [
        {"network": "keras", "file": "model.keras", "bytes": 2_893_122, **timed(None)},
        {"network": "int8", "file": "model_int8.tflite", "bytes": 731_648, **timed(0.412)},
    ]
    return {
        "parameters": 697_962,
        "multiply_adds": int(counts.sum()),
        "layers": [
            {"layer": name, "multiply_adds": int(count), "share": float(count / counts.sum())}
            for name, count in zip(names, counts, strict=True)
        ],
        "threads": 1,
        "files": [{**file, "preview": False} for file in files[: 1 + int8]],
    }


def data(random: np.random.Generator, names: Sequence[str], images: Images) -> dict:
    train = random.integers(3000, 4500, len(names))
    return {
        "balance": {
            "of": "train",
            "classes": [
                {"class": name, "train": int(count), "validation": 500, "test": 1000}
                for name, count in zip(names, train, strict=True)
            ],
            "imbalance_ratio": float(train.max() / train.min()),
        },
        "label_errors": {
            "images": 15_000,
            "cross_validated": None,
            "suspected": 91,
            "estimated_share": 0.0061,
            "ranked": [images.image(suggested="something else", probability=0.08) for _ in range(8)],
        },
        "hardest": {"images": 10_000, "ranked": [images.image(probability=0.002) for _ in range(8)]},
    }
