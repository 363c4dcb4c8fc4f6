"""Decoding of images, against Pillow and the formulas."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipeline.data.decoding.decode import decode_image
from tests.encodings import (
    ALPHA,
    COLOURS,
    DEEP,
    GREY,
    HEIGHT,
    WIDTH,
    bmp_with_alpha,
    enormous,
    grey,
    over_white,
    png,
    save,
    with_a_hidden_colour,
)

HIDDEN = with_a_hidden_colour()


@pytest.fixture
def colours() -> np.ndarray:
    """Uint8 [HEIGHT, WIDTH, 3]: random blocks, with sharp edges in every channel."""
    return COLOURS


def pillow_rgb(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def levels_off(content: bytes, expected: np.ndarray) -> float:
    decoded = decode_image(content)
    assert decoded.dtype == tf.uint8
    assert decoded.shape == (*expected.shape[:2], 3)
    return float(np.abs(decoded.numpy().astype(float) - expected).max())


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF"])
def test_lossless_formats_equal_pillow(kind, mode, colours):
    content = save(Image.fromarray(colours).convert(mode), kind)
    assert levels_off(content, pillow_rgb(content)) == 0


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_jpeg_equals_pillow(mode, options, colours):
    content = save(Image.fromarray(colours).convert(mode), "JPEG", quality=90, **options)
    # Both use libjpeg-turbo's accurate integer transform; another build of it may round otherwise.
    assert levels_off(content, pillow_rgb(content)) <= 2


def test_jpeg_ycck_equals_pillow(colours):
    cmyk = save(Image.fromarray(colours).convert("CMYK"), "JPEG", quality=90)
    transform = cmyk.index(b"Adobe") + 11  # Adobe TN 5116, section 18: 0 is CMYK, 2 is YCCK
    ycck = cmyk[:transform] + b"\x02" + cmyk[transform + 1 :]
    # CMYK to RGB rounds once more after the colour transform.
    assert levels_off(ycck, pillow_rgb(ycck)) <= 2


def test_cmyk_jpeg_without_adobe_marker_is_not_inverted(colours):
    cmyk = Image.fromarray(colours).convert("CMYK")
    content = save(Image.fromarray(255 - np.asarray(cmyk), "CMYK"), "JPEG", quality=100)
    start = content.index(b"\xff\xee")
    (length,) = struct.unpack(">H", content[start + 2 : start + 4])
    content = content[:start] + content[start + 2 + length :]
    # Pillow wrote 255 - (255 - ink) = ink, which is right where no marker says "inverted".
    ink = np.asarray(cmyk).astype(float) / 255
    expected = 255 * (1 - ink[..., :3]) * (1 - ink[..., 3:])
    assert levels_off(content, expected) <= 4  # JPEG at quality 100 quantises by a level or two


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_png_of_few_bits_spreads_its_levels(bits):
    levels = np.arange(24 * 16).reshape(24, 16) % 2**bits
    assert levels_off(png(levels, bits, GREY), grey(levels * (255 // (2**bits - 1)))) == 0


@pytest.mark.parametrize("name", HIDDEN)
def test_a_colour_that_stands_for_transparent_is_white(name):
    content, expected = HIDDEN[name]
    assert (expected == 255).all(axis=-1).any()
    # Rounding to a level is off by half at most.
    assert levels_off(content, expected) <= 0.5001


def test_a_bmp_has_alpha_unless_nothing_would_be_seen(colours):
    assert levels_off(bmp_with_alpha(COLOURS, ALPHA), over_white(COLOURS, ALPHA / 255)) <= 0.5001
    assert levels_off(bmp_with_alpha(COLOURS, 0 * ALPHA), COLOURS) == 0


@pytest.mark.parametrize("colours_used", [2, 4, 16, 256])
def test_palette_png_of_few_bits_equals_pillow(colours_used, colours):
    content = save(Image.fromarray(colours).quantize(colours_used), "PNG")
    assert levels_off(content, pillow_rgb(content)) == 0


def test_16_bit_grey_png_keeps_its_high_byte():
    assert levels_off(save(Image.fromarray(DEEP), "PNG"), grey(DEEP >> 8)) == 0


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour_png_keeps_its_high_byte(channels, colours):
    deep = colours.astype(np.uint16) * 256 + 77
    opaque = np.full((HEIGHT, WIDTH, 1), 65535, np.uint16)  # Pillow can't write such files
    content = tf.io.encode_png(np.concatenate([deep, opaque], -1)[..., :channels]).numpy()
    assert levels_off(content, colours) == 0


@pytest.mark.parametrize("case", ["PNG RGBA", "PNG LA", "PNG P", "GIF P"])
def test_transparency_is_composited_over_white(case, colours):
    kind, mode = case.split()
    alpha = np.linspace(0, 255, HEIGHT * WIDTH).round().reshape(HEIGHT, WIDTH)
    image = Image.fromarray(np.dstack([colours, alpha.astype(np.uint8)])).convert(mode)
    options = {"transparency": int(np.asarray(image)[0, 0])} if mode == "P" else {}
    content = save(image, kind, **options)
    rgba = np.asarray(Image.open(io.BytesIO(content)).convert("RGBA")).astype(float)
    assert (rgba[..., 3] == 0).any()
    share = rgba[..., 3:] / 255
    expected = rgba[..., :3] * share + 255 * (1 - share)  # Porter & Duff (1984), "over"
    # Rounding to a level is off by half at most; float32 adds less than 1e-4.
    assert levels_off(content, expected) <= 0.5001


def test_animated_gif_gives_its_first_frame(colours):
    first, second = Image.fromarray(colours).quantize(16), Image.fromarray(255 - colours)
    content = save(first, "GIF", save_all=True, append_images=[second])
    assert levels_off(content, np.asarray(first.convert("RGB"))) == 0


def test_32_bit_bmp_ignores_the_reserved_byte(colours):
    header = b"BM" + struct.pack("<IHHI", 54 + 4 * HEIGHT * WIDTH, 0, 0, 54)
    header += struct.pack("<IiiHHIIiiII", 40, WIDTH, -HEIGHT, 1, 32, 0, 0, 0, 0, 0, 0)
    pixels = np.dstack([colours[..., ::-1], np.zeros((HEIGHT, WIDTH), np.uint8)])
    assert levels_off(header + pixels.tobytes(), colours) == 0


ENCODED = {
    "jpeg": ("JPEG", "RGB", {}, 2),
    "progressive jpeg": ("JPEG", "RGB", {"progressive": True}, 2),
    "cmyk jpeg": ("JPEG", "CMYK", {}, 2),
    "png": ("PNG", "RGB", {}, 12),
    "1-bit png": ("PNG", "1", {}, 20),
    "gif": ("GIF", "P", {}, 2),
    "bmp": ("BMP", "RGB", {}, 1),
    "palette bmp": ("BMP", "P", {}, 3),
}
"""Name -> format, mode, options, and the bytes after the last pixel: end mark, padding, sums."""


@pytest.mark.parametrize("name", ENCODED)
def test_content_cut_anywhere_is_refused(name, colours):
    kind, mode, options, after_pixels = ENCODED[name]
    content = save(Image.fromarray(colours).convert(mode), kind, **options)
    whole = len(content) - after_pixels
    for length in [*range(0, whole, whole // 20), whole - 1]:
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode_image(content[:length])


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_changed_content_is_refused(kind, colours):
    content = bytearray(save(Image.fromarray(colours), kind))
    middle = len(content) // 2
    content[middle : middle + 40] = bytes(40)
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_image(bytes(content))


@pytest.mark.parametrize(
    "content",
    [b"", b"B", b"path,label\n", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"\0" * 99],
)
def test_other_content_is_refused(content):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_image(content)


@pytest.mark.parametrize("kind", ["bmp", "gif"])
def test_what_pillow_decodes_is_held_to_the_limit_without_a_folders_check(kind):
    # As in a set of TensorFlow Datasets.
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="20,000 x 20,000 pixels are more than 178,956,970"
    ):
        decode_image(enormous(kind))


def deep_tiff(samples: np.ndarray, order: str, bits: int = 16, **tags: int) -> bytes:
    """A TIFF of one strip, as Pillow writes none of 16-bit colours (TIFF 6.0, section 2 and 8).

    Args:
        samples: unsigned integers [height, width] or [height, width, channels].
        order: of bytes, `<` or `>`.
        bits: of a sample.
        tags: `tag_NUMBER=value` in place of or beside those that are needed.
    """
    height, width, channels = (*samples.shape, 1)[:3]
    data = samples.astype(f"{order}u{bits // 8}").tobytes()
    values = {256: width, 257: height, 258: bits, 259: 1, 262: 2 if channels > 1 else 1, 273: 8}
    values |= {277: channels, 278: height, 279: len(data)}
    values |= {int(name.removeprefix("tag_")): value for name, value in tags.items()}
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, 8 + len(data))
    end = 8 + len(data) + 2 + 12 * len(values) + 4
    entries = b""
    for tag, value in sorted(values.items()):
        several = tag == 258 and channels > 1
        entries += struct.pack(f"{order}HHI", tag, 3 if several else 4, channels if several else 1)
        entries += struct.pack(f"{order}I", end if several else value)
    depths = struct.pack(f"{order}{channels}H", *[bits] * channels)
    return head + data + struct.pack(f"{order}H", len(values)) + entries + bytes(4) + depths


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}, {"compression": "packbits"}], ids=str)
def test_tiff_equals_what_was_saved(mode, options, colours):
    image = Image.fromarray(colours).convert(mode)
    assert levels_off(save(image, "TIFF", **options), np.asarray(image.convert("RGB"))) == 0


def test_tiff_of_inks_is_colours_as_the_formula_says(colours):
    cmyk = Image.fromarray(colours).convert("CMYK")
    ink = np.asarray(cmyk).astype(float) / 255
    # Pillow rounds each product of two levels to a level.
    assert levels_off(save(cmyk, "TIFF"), 255 * (1 - ink[..., :3]) * (1 - ink[..., 3:])) <= 1


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_tiff_keeps_its_high_byte(order, colours):
    assert levels_off(deep_tiff(DEEP, order), grey(DEEP >> 8)) == 0
    assert levels_off(deep_tiff(colours.astype(np.uint16) * 256 + 77, order), colours) == 0


def test_transparent_tiff_and_webp_are_composited_over_white(colours):
    see_through = Image.fromarray(np.dstack([colours, ALPHA]))
    expected = over_white(colours, ALPHA / 255)
    for content in (save(see_through, "TIFF"), save(see_through, "WEBP", lossless=True, exact=True)):
        assert levels_off(content, expected) <= 0.5001  # rounding to a level


def test_webp_equals_what_was_saved_and_another_build_of_its_library(colours):
    image = Image.fromarray(colours)
    lossless = save(image, "WEBP", lossless=True)
    assert levels_off(lossless, colours) == 0
    moving = save(image, "WEBP", lossless=True, save_all=True, append_images=[Image.fromarray(255 - colours)])
    assert levels_off(moving, colours) == 0
    lossy = save(image, "WEBP", quality=60)
    # TensorFlow's own copy of libwebp.
    assert levels_off(lossy, tf.io.decode_webp(lossy, channels=3).numpy()[0]) <= 2


def test_the_first_page_is_the_image(colours):
    pages = [Image.fromarray(255 - colours)]
    assert (
        levels_off(save(Image.fromarray(colours), "TIFF", save_all=True, append_images=pages), colours) == 0
    )


@pytest.mark.parametrize("kind", ["WEBP", "TIFF"])
def test_cut_webp_and_tiff_are_refused(kind, colours):
    content = save(Image.fromarray(colours), kind)
    for length in [*range(0, len(content) * 9 // 10, len(content) // 10)]:
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode_image(content[:length])


RAW = {
    "of 32 bits": (deep_tiff(DEEP, "<", bits=32), "up to 16 bits a sample, grey, RGB or CMYK; received I"),
    "DNG": (deep_tiff(DEEP, "<", tag_50706=1), "camera RAW, which is not read"),
    "preview of NEF": (deep_tiff(DEEP, ">", tag_254=1), "camera RAW, which is not read"),
    "CR2": (deep_tiff(np.frombuffer(b"CR\2\0" * 4, np.uint8).reshape(4, 4), "<", bits=8), "camera RAW"),
}


@pytest.mark.parametrize("name", RAW)
def test_what_is_no_image_for_all_its_being_a_tiff_is_refused(name):
    content, message = RAW[name]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decode_image(content)


def test_decodes_inside_tf_data(colours):
    contents = [save(Image.fromarray(colours), kind) for kind in ["PNG", "BMP", "GIF", "JPEG"]]
    dataset = tf.data.Dataset.from_tensor_slices(contents).map(decode_image)
    assert dataset.element_spec == tf.TensorSpec([None, None, 3], tf.uint8)
    for content, decoded in zip(contents, dataset, strict=True):
        assert np.abs(decoded.numpy().astype(int) - pillow_rgb(content)).max() <= 2  # as for JPEG
    damaged = tf.data.Dataset.from_tensors(contents[1][:-50]).map(decode_image)
    with pytest.raises(tf.errors.InvalidArgumentError):
        next(iter(damaged))


@pytest.mark.parametrize("upright", [True, False])
def test_decoding_holds_no_stateful_operation(upright):
    # Deterministic tf.data would run a map that holds one on a single thread.
    decode = tf.function(lambda content: decode_image(content, upright=upright))
    graph = decode.get_concrete_function(tf.TensorSpec([], tf.string)).graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    assert "DecodeJpeg" in {node.op for node in nodes}
    stateful = {"PyFunc", "EagerPyFunc", "StatefulPartitionedCall", "If", "Case", "While"}
    assert not {node.op for node in nodes} & stateful
