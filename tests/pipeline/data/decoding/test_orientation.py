"""EXIF orientation, in training and in the bundle's run.py, against Pillow's exif_transpose."""

import dataclasses
import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from export.device import run
from pipeline.config.settings import AugmentConfig
from pipeline.data.batches import Examples, build_training_batches, load_images
from pipeline.data.decoding.decode import decode_image
from pipeline.data.table import EncodedImages, Source
from tests.encodings import COLOURS, HEIGHT, WIDTH, orientation, save

IMAGE = Image.fromarray(COLOURS)


def upright_by_pillow(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def levels_off(content: bytes, tmp_path, expected: np.ndarray, upright: bool = True) -> int:
    """How far the pixels of training and of run.py are from those expected, at most."""
    (tmp_path / "image").write_bytes(content)
    seen = decode_image(content, upright=upright).numpy(), np.asarray(run.decode(tmp_path / "image", upright))
    assert [pixels.shape for pixels in seen] == [expected.shape] * 2
    return max(np.abs(pixels.astype(int) - expected).max() for pixels in seen)


def tiff(value: int, order: str = "<", entries: int = 2) -> bytes:
    """EXIF data of two entries, the second an orientation (TIFF 6.0, section 2)."""
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HIH", 42, 8, entries)
    make = struct.pack(f"{order}HHI4s", 0x010F, 2, 3, b"ab\0\0")
    return head + make + struct.pack(f"{order}HHIH2x", 0x0112, 3, 1, value) + bytes(4)


@pytest.mark.parametrize("value", range(1, 9))
def test_each_orientation_is_undone_as_pillow_undoes_it(value, tmp_path):
    exif = orientation(value)
    see_through = Image.fromarray(np.dstack([COLOURS, np.full((HEIGHT, WIDTH), 255, np.uint8)]))
    lossless = [
        save(IMAGE, "png", exif=exif),
        save(IMAGE.convert("P"), "png", exif=exif),
        save(see_through, "png", exif=exif, dpi=(72, 72)),
    ]
    for content in lossless:
        assert levels_off(content, tmp_path, upright_by_pillow(content)) == 0
        assert (
            levels_off(content, tmp_path, np.asarray(Image.open(io.BytesIO(content)).convert("RGB")), False)
            == 0
        )
    # Two builds of libjpeg-turbo may round otherwise.
    for mode in ("RGB", "L", "CMYK"):
        content = save(IMAGE.convert(mode), "jpeg", exif=exif)
        assert levels_off(content, tmp_path, upright_by_pillow(content)) <= 2
    assert (upright_by_pillow(content).shape[0] == WIDTH) == (value >= 5)


def jpeg(*segments: tuple[int, bytes]) -> bytes:
    """A JPEG with segments before its tables (ITU T.81, B.1.1.4), in place of JFIF's."""
    plain = save(IMAGE, "jpeg")
    rest = plain[2 + 2 + struct.unpack(">H", plain[4:6])[0] :]
    return (
        plain[:2]
        + b"".join(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments)
        + rest
    )


JFIF = (0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")
ICC, COMMENT = (0xE2, b"ICC_PROFILE\0\1\1" + bytes(200)), (0xFE, b"a comment about Exif")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "before", [[], [JFIF], [JFIF, ICC], [COMMENT, ICC], [(0xE0, JFIF[1] + bytes(30))]], ids=str
)
def test_exif_data_are_found_behind_other_segments(order, before, tmp_path):
    content = jpeg(*before, (0xE1, b"Exif\0\0" + tiff(6, order)), ICC)
    expected = upright_by_pillow(content)
    assert expected.shape == (WIDTH, HEIGHT, 3)
    assert levels_off(content, tmp_path, expected) <= 2  # of libjpeg


@pytest.mark.parametrize(
    "exif",
    [
        *(
            b"",
            tiff(0),
            tiff(9),
            tiff(6)[:20],
            tiff(6)[:10],
            b"II*\0\xff\xff\xff\xff",
            b"nothing of the kind",
        ),
        *(tiff(6, entries=1), b"XX" + tiff(6)[2:]),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # it decodes them all the same
def test_exif_data_that_say_nothing_leave_an_image_as_it_is(exif, tmp_path):
    content = jpeg(JFIF, (0xE1, b"Exif\0\0" + exif))
    assert levels_off(content, tmp_path, np.asarray(Image.open(io.BytesIO(content)))) <= 2  # of libjpeg


def test_an_orientation_beside_the_image_is_none(tmp_path):
    # A thumbnail's, or a text that reads like EXIF data.
    content = jpeg(JFIF, (0xFE, b"Exif\0\0" + tiff(6)), (0xED, b"Exif\0\0" + tiff(6)))
    assert levels_off(content, tmp_path, np.asarray(Image.open(io.BytesIO(content)))) <= 2


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def test_a_png_that_is_cut_or_has_damaged_exif_data_is_no_other(tmp_path):
    plain = save(IMAGE, "png")
    for body in (b"", b"II*\0", tiff(6)[:12]):
        content = plain[:33] + chunk(b"eXIf", body) + plain[33:]
        assert levels_off(content, tmp_path, COLOURS) == 0
    content = plain[:33] + chunk(b"gAMA", struct.pack(">I", 45455)) + chunk(b"eXIf", tiff(8)) + plain[33:]
    assert levels_off(content, tmp_path, np.rot90(COLOURS)) == 0
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_image(content[:-40])


CHUNKS = {"sRGB": b"\0", "gAMA": struct.pack(">I", 45455), "pHYs": struct.pack(">IIB", 2835, 2835, 1)}
"""What most writers put before the pixels of a PNG (ISO 15948, 11.3)."""


@pytest.mark.parametrize(
    "names",
    ["", "pHYs", "sRGB", "sRGB pHYs", "sRGB gAMA", "sRGB gAMA pHYs", "gAMA", "gAMA sRGB", "pHYs gAMA sRGB"],
)
def test_exif_data_are_found_between_the_chunks_of_a_png(names, tmp_path):
    plain = save(IMAGE, "png")
    chunks = b"".join(chunk(name.encode(), CHUNKS[name]) for name in names.split())
    assert levels_off(plain[:33] + chunks + plain[33:], tmp_path, COLOURS) == 0
    turned = plain[:33] + chunks + chunk(b"eXIf", tiff(8)) + plain[33:]
    assert levels_off(turned, tmp_path, np.rot90(COLOURS)) == 0


def test_every_way_into_a_network_is_upright():
    # Larger than the network's input, and cropped at random: where it is cropped is where it is upright.
    contents = [
        [save(Image.fromarray(image), "png", exif=exif) for image in images]
        for exif, images in (
            (None, [np.roll(COLOURS, row, axis=0) for row in range(8)]),
            (orientation(6), [np.rot90(np.roll(COLOURS, row, axis=0)) for row in range(8)]),
        )
    ]
    rows = np.arange(8)

    def examples(files: list[bytes], upright: bool) -> Examples:
        table = tf.constant(files)
        images = EncodedImages(lambda row: tf.gather(table, row))
        source = Source(
            "made up", ("a", "b"), rows % 2, rows[:, None].astype(np.uint8), images, {"train": rows}
        )
        reading = dataclasses.replace(source.reading, exif_orientation=upright)
        return Examples(dataclasses.replace(source, reading=reading), rows, 16)

    def batches(given: Examples) -> list[np.ndarray]:
        augment = AugmentConfig(resized_crop_area=0.4)
        settings = {"global_batch_size": 4, "seed": 1, "first_step": 0, "last_step": 4}
        training = build_training_batches(given, augment, **settings)
        return [load_images(given), *(images for images, _ in training.as_numpy_iterator())]

    stored_upright, stored_turned = contents
    expected = batches(examples(stored_upright, True))
    for ours, theirs in zip(batches(examples(stored_turned, True)), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    as_before = batches(examples(stored_turned, False))
    assert not any(np.array_equal(ours, theirs) for ours, theirs in zip(as_before, expected, strict=True))
