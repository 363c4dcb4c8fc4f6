"""Scikit-learn's handwritten digits, and the digest of an image in memory."""

import hashlib

import numpy as np

from pipeline.data.table import ArrayImages, Source


def load_digits() -> Source:
    """Load the 1,797 handwritten digits of 8 x 8 pixels that scikit-learn brings along.

    Grey 0..16 becomes RGB 0..255 (Alpaydin & Kaynak 1998, UCI Optical Recognition of Handwritten
    Digits, test part).
    """
    from sklearn.datasets import load_digits as read_digits

    digits = read_digits()
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    images = np.repeat(grey[..., np.newaxis], 3, axis=-1)
    return Source(
        name="digits",
        class_names=tuple(str(name) for name in digits.target_names),
        labels=digits.target.astype(np.int64),
        digests=digest_images(images),
        images=ArrayImages(images),
        provided={"train": np.arange(len(images))},
    )


def digest_images(images: np.ndarray) -> np.ndarray:
    """Hash each image: uint8 [images, height, width, 3] -> uint8 [images, 16], BLAKE2b."""
    digests = b"".join(hashlib.blake2b(image, digest_size=16).digest() for image in images)
    return np.frombuffer(digests, np.uint8).reshape(len(images), 16)
