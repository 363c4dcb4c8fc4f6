"""Figures of networks that do not exist, as a report holds them."""

from collections.abc import Sequence

import numpy as np

CORRUPTIONS = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}


def estimate(value: float, reach: float = 0.01, highest: float = 1.0) -> dict:
    value = float(value)
    return {"value": value, "interval_95": [max(value - reach, 0.0), min(value + reach, highest)]}


def confusion(random: np.random.Generator, classes: int, images: int) -> np.ndarray:
    """Count [classes, classes]; about four in five are right, mistakes cluster."""
    likely = random.dirichlet(np.full(classes, 0.15), classes) * random.uniform(0.1, 0.4, (classes, 1))
    likely[np.arange(classes), np.arange(classes)] = 0
    likely[np.arange(classes), np.arange(classes)] = 1 - likely.sum(1)
    return random.multinomial(images, likely)


def damaged(random: np.random.Generator, counts: np.ndarray) -> np.ndarray:
    """Let up to one in fifty images that were right be taken for the next class."""
    moved = random.binomial(counts.diagonal(), random.uniform(0, 0.02, len(counts)))
    return counts - np.diag(moved) + np.roll(np.diag(moved), 1, axis=1)


def accuracy(names: Sequence[str], counts: np.ndarray) -> dict:
    hits, labelled, called = counts.diagonal(), counts.sum(1), counts.sum(0)

    def row(k: int) -> dict:
        recall = hits[k] / labelled[k] if labelled[k] else None
        shares = {
            "precision": hits[k] / called[k] if called[k] else None,
            "recall": recall,
            "f1": None if recall is None else 2 * hits[k] / (labelled[k] + called[k]),
            "roc_auc": None if recall is None else 0.9 + recall / 10,
        }
        return {
            "class": names[k],
            "images": int(labelled[k]),
            **{key: None if share is None else estimate(share, 0.03) for key, share in shares.items()},
        }

    top1 = hits.sum() / counts.sum()
    averages = {
        key: estimate(top1 + shift)
        for key, shift in {"precision": 0.002, "recall": 0, "f1": -0.001, "roc_auc": 0.15}.items()
    }
    return {
        "top1": estimate(top1, 0.0078),
        "top5": estimate(0.987, 0.002) if len(names) > 5 else None,
        "macro": averages,
        "weighted": averages,
        "per_class": [row(k) for k in range(len(names))],
        "confusion_matrix": counts.tolist(),
        "resamples": 1000,
    }


def bins(random: np.random.Generator, gap: float, images: int) -> list[dict]:
    edges = np.linspace(0, 1, 16)
    weights = np.exp(5 * edges[1:]) * (edges[1:] > 0.2)
    counts = random.multinomial(images, weights / weights.sum())
    confidence = edges[:-1] + random.uniform(0.01, 0.06, 15)
    reached = np.clip(confidence - gap * random.uniform(0.5, 1.5, 15), 0, 1)
    return [
        {
            "low": float(edges[k]),
            "high": float(edges[k + 1]),
            "images": int(counts[k]),
            "confidence": float(confidence[k]) if counts[k] else None,
            "accuracy": float(reached[k]) if counts[k] else None,
        }
        for k in range(15)
    ]


def calibration(random: np.random.Generator, images: int) -> dict:
    def at(gap: float) -> dict:
        return {
            "nll": estimate(0.5 + gap, 0.02, 9),
            "brier": estimate(0.26 + gap / 4, 0.01, 2),
            "ece_equal_width": estimate(gap, 0.006),
            "ece_equal_mass": estimate(gap * 0.95, 0.006),
            "equal_width_bins": bins(random, gap, images),
            "equal_mass_bins": bins(random, gap, images),
        }

    return {
        "temperature": 1.37,
        "temperature_at_limit": False,
        "bins": 15,
        "validation_images": images,
        "before": at(0.0712),
        "after": at(0.0118),
    }


def robustness(random: np.random.Generator, clean: float) -> dict:
    kinds = [(name, category) for category, names in CORRUPTIONS.items() for name in names]
    fragile = random.uniform(0.02, 0.16, (len(kinds), 1))
    table = np.clip(clean - fragile * np.arange(1, 6), 0.1, 1)
    return {
        "images": 1000,
        "clean": estimate(clean, 0.02),
        "mean": estimate(table.mean(), 0.015),
        "cell_margin": 0.031,
        "by_severity": table.mean(0).tolist(),
        "corruptions": {
            name: {"category": category, "accuracy": row.tolist(), "mean": float(row.mean())}
            for (name, category), row in zip(kinds, table, strict=True)
        },
    }
