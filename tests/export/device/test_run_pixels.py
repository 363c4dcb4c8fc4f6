"""The pixels that the bundle's run.py gives the network, against those of training."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from export.device import run
from pipeline.data.decode import decode_image, resize_image

CORNERS = np.mgrid[0:120, 0:150] / np.array([119, 149])[:, None, None]
SCENES = {
    "noise": np.random.default_rng(1).integers(0, 256, (120, 150, 3), dtype=np.uint8),
    "gradients": np.stack(
        [255 * CORNERS[0], 255 * CORNERS[1], 127 + 127 * np.sin(9 * CORNERS[0] - 40 * CORNERS[1])], axis=-1
    ).astype(np.uint8),
    "tiny": np.random.default_rng(2).integers(0, 256, (8, 5, 3), dtype=np.uint8),
}


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("size", [7, 32, 100, 224])
def test_resizes_as_training_did(scene, size):
    resized = run.resize(Image.fromarray(SCENES[scene]), size, size).astype(int)
    expected = resize_image(tf.constant(SCENES[scene]), size).numpy().astype(int)
    # Pillow rounds to a level after each of its two passes, the pipeline once, at the end.
    assert np.abs(resized - expected).max() <= 1
    assert (resized != expected).mean() < 0.25  # measured: 0 to 21 % of the values


def save(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def encoded_images() -> dict[str, tuple[bytes, int]]:
    """Name -> content, and how many levels the two decoders may differ."""
    blocks = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    colours = np.kron(blocks, np.ones((8, 8, 1), np.uint8))[:24, :37]
    alpha = np.linspace(0, 255, 24 * 37).round().astype(np.uint8).reshape(24, 37)
    image, see_through = Image.fromarray(colours), Image.fromarray(np.dstack([colours, alpha]))
    deep = colours.astype(np.uint16) * 256 + 77
    deep_alpha = alpha[..., None].astype(np.uint16) * 257
    grey = np.linspace(0, 65535, 24 * 37).astype(np.uint16).reshape(24, 37)
    rotated = Image.Exif()
    rotated[0x0112] = 6  # Orientation: a quarter turn (EXIF 2.3, 4.6.4)
    palette = image.convert("P")
    hole = int(np.asarray(palette)[0, 0])
    lossless = {
        f"{mode}.{kind}": save(image.convert(mode), kind)
        for kind in ("png", "bmp", "gif")
        for mode in ("1", "L", "P", "RGB")
    }
    lossless |= {
        "few colours.png": save(image.quantize(4), "png"),
        "hole.png": save(palette, "png", transparency=hole),
        "hole.gif": save(palette, "gif", transparency=hole),
        "moving.gif": save(image, "gif", save_all=True, append_images=[see_through.convert("L")]),
        "16-bit grey.png": save(Image.fromarray(grey), "png"),
        "16-bit RGB.png": tf.io.encode_png(deep).numpy(),
    }
    blended = {
        "RGBA.png": save(see_through, "png"),
        "LA.png": save(see_through.convert("LA"), "png"),
        "16-bit RGBA.png": tf.io.encode_png(np.concatenate([deep, deep_alpha], -1)).numpy(),
    }
    compressed = {
        f"{mode} {name}.jpg": save(image.convert(mode), "jpeg", **options)
        for mode in ("L", "RGB", "CMYK")
        for name, options in {
            "plain": {},
            "progressive": {"progressive": True},
            "full colour": {"subsampling": 0},
            "rotated": {"exif": rotated},
        }.items()
    }
    return {
        **{name: (content, 0) for name, content in (lossless | blended).items()},
        # Both use libjpeg-turbo's accurate integer transform; another build may round otherwise.
        **{name: (content, 2) for name, content in compressed.items()},
    }


ENCODED = encoded_images()


@pytest.mark.parametrize("name", ENCODED)
def test_decodes_as_training_did(name, tmp_path):
    content, tolerance = ENCODED[name]
    (tmp_path / name).write_bytes(content)
    decoded = run.decode(tmp_path / name)
    assert decoded.mode == "RGB"
    expected = decode_image(content).numpy().astype(int)
    assert np.asarray(decoded).shape == expected.shape
    assert np.abs(np.asarray(decoded) - expected).max() <= tolerance


@pytest.mark.parametrize("name", ["RGB plain.jpg", "CMYK progressive.jpg", "RGB.png", "P.gif"])
def test_refuses_images_that_were_cut_short(name, tmp_path):
    content, _ = ENCODED[name]
    for length in range(0, len(content) - 12, len(content) // 12):  # PNG's end mark has 12 bytes
        (tmp_path / name).write_bytes(content[:length])
        # Pillow raises nearly every kind, and run.py reports them all.
        with pytest.raises(Exception):  # noqa: B017, PT011
            run.decode(tmp_path / name)
