"""One small image in every way that a file may hold it, for whatever decodes."""

import io
import struct
import zlib

import numpy as np
import tensorflow as tf
from PIL import Image

HEIGHT, WIDTH = 24, 37  # unequal and odd, so that a swapped axis or a padded row shows
BLOCKS = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
COLOURS = np.kron(BLOCKS, np.ones((8, 8, 1), np.uint8))[:HEIGHT, :WIDTH]
ALPHA = np.linspace(0, 255, HEIGHT * WIDTH).round().astype(np.uint8).reshape(HEIGHT, WIDTH)
DEEP = np.linspace(0, 65535, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)

GREY, RGB, PALETTE = 0, 2, 3
"""Colour types of PNG."""


def save(image: Image.Image, kind: str, **options: object) -> bytes:
    """Let Pillow write an image."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(samples: np.ndarray, bits: int, kind: int, **chunks: bytes) -> bytes:
    """Put a PNG together, for Pillow writes few kinds (ISO 15948, 5 and 11).

    Args:
        samples: unsigned integers [height, width] or [height, width, channels].
        bits: of a sample.
        kind: its colour type.
        chunks: name -> body of chunks before the pixels, such as `tRNS`.
    """
    samples = samples.reshape(*samples.shape[:2], -1).astype(np.uint16)
    of_sample = (samples[..., None] >> np.arange(bits)[::-1]) & 1
    rows = np.packbits(of_sample.reshape(len(samples), -1).astype(np.uint8), axis=1)
    unfiltered = b"".join(b"\0" + row.tobytes() for row in rows)
    height, width = samples.shape[:2]
    bodies = {"IHDR": struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0), **chunks}
    bodies |= {"IDAT": zlib.compress(unfiltered), "IEND": b""}
    content = b"\x89PNG\r\n\x1a\n"
    for name, body in bodies.items():
        chunk = name.encode() + body
        content += struct.pack(">I", len(body)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return content


def bmp_with_alpha(colours: np.ndarray, alpha: np.ndarray) -> bytes:
    """A BMP of 32 bits whose header names a mask for alpha (BITMAPV4HEADER, BI_BITFIELDS)."""
    height, width = alpha.shape
    size = 14 + 108 + 4 * height * width
    header = b"BM" + struct.pack("<IHHI", size, 0, 0, 14 + 108)
    header += struct.pack("<IiiHHIIiiII", 108, width, -height, 1, 32, 3, 0, 0, 0, 0, 0)
    header += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(48)
    return header + np.dstack([colours[..., ::-1], alpha]).tobytes()


def orientation(value: int) -> Image.Exif:
    """EXIF data with an orientation alone (EXIF 2.3, 4.6.4): 3 is a half turn, 6 a quarter."""
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def enormous(kind: str) -> bytes:
    """A file of a few bytes whose header claims 20,000 x 20,000 pixels, and that ends there."""
    content = {
        "png": lambda: png(np.zeros((1, 1)), 8, GREY),
        "bmp": lambda: save(Image.new("L", (1, 1)), "bmp"),
        "gif": lambda: save(Image.new("L", (1, 1)), "gif"),
        "jpg": lambda: save(Image.new("L", (1, 1)), "jpeg"),
    }[kind]()
    # Width and height, in whichever order and form: each is 1 there.
    place, form = {"png": (16, ">II"), "bmp": (18, "<ii"), "gif": (6, "<HH"), "jpg": (0, ">HH")}[kind]
    if kind == "jpg":
        place = content.index(b"\xff\xc0") + 5  # in the start of frame (ITU T.81, B.2.2)
    sized = bytearray(content)
    struct.pack_into(form, sized, place, 20_000, 20_000)
    if kind == "png":
        struct.pack_into(">I", sized, 29, zlib.crc32(sized[12:29]))
    return bytes(sized)


def over_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Porter & Duff (1984), "over"; alpha in [0, 1]."""
    share = np.asarray(alpha, float)[..., None]
    return np.asarray(colours, float) * share + 255 * (1 - share)


def grey(levels: np.ndarray) -> np.ndarray:
    """Levels as RGB."""
    return np.repeat(levels[..., None], 3, axis=-1)


def with_a_hidden_colour() -> dict[str, tuple[bytes, np.ndarray]]:
    """PNGs in which one colour stands for transparent: name -> content and its pixels."""
    cases = {}
    for bits in (1, 2, 4, 8):
        levels = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 2**bits
        hidden = 2**bits // 3
        content = png(levels, bits, GREY, tRNS=struct.pack(">H", hidden))
        shown = grey(levels * (255 // (2**bits - 1)))
        cases[f"{bits}-bit grey, one hidden.png"] = content, over_white(shown, levels != hidden)
    hidden = int(DEEP[7, 7])
    content = png(DEEP, 16, GREY, tRNS=struct.pack(">H", hidden))
    cases["16-bit grey, one hidden.png"] = content, over_white(grey(DEEP >> 8), hidden != DEEP)
    colour = COLOURS[9, 9]
    is_shown = (colour != COLOURS).any(axis=-1)
    content = png(COLOURS, 8, RGB, tRNS=struct.pack(">HHH", *map(int, colour)))
    cases["RGB, one hidden.png"] = content, over_white(COLOURS, is_shown)
    # The high bytes decide, for they are all that is kept.
    deep = COLOURS.astype(np.uint16) * 256 + 77
    content = png(deep, 16, RGB, tRNS=struct.pack(">HHH", *(int(c) * 256 + 77 for c in colour)))
    cases["16-bit RGB, one hidden.png"] = content, over_white(COLOURS, is_shown)
    palette = np.random.default_rng(1).integers(0, 256, (16, 3), dtype=np.uint8)
    alphas, places = np.linspace(0, 255, 16).astype(np.uint8), np.arange(HEIGHT * WIDTH) % 16
    places = places.reshape(HEIGHT, WIDTH)
    content = png(places, 4, PALETTE, PLTE=palette.tobytes(), tRNS=alphas.tobytes())
    cases["palette with alpha.png"] = content, over_white(palette[places], alphas[places] / 255)
    return cases


def lossless() -> dict[str, bytes]:
    """Every encoding but JPEG; all keep each pixel, or are decoded by one library everywhere."""
    image, see_through = Image.fromarray(COLOURS), Image.fromarray(np.dstack([COLOURS, ALPHA]))
    deep = COLOURS.astype(np.uint16) * 256 + 77
    deep_alpha = ALPHA[..., None].astype(np.uint16) * 257
    palette = image.convert("P")
    hole = int(np.asarray(palette)[0, 0])
    plain = {
        f"{mode}.{kind}": save(image.convert(mode), kind)
        for kind in ("png", "bmp", "gif")
        for mode in ("1", "L", "P", "RGB")
    }
    return {
        **plain,
        **{name: content for name, (content, _) in with_a_hidden_colour().items()},
        "few colours.png": save(image.quantize(4), "png"),
        "hole.png": save(palette, "png", transparency=hole),
        "hole.gif": save(palette, "gif", transparency=hole),
        "moving.gif": save(image, "gif", save_all=True, append_images=[see_through.convert("L")]),
        "16-bit grey.png": save(Image.fromarray(DEEP), "png"),
        "16-bit RGB.png": tf.io.encode_png(deep).numpy(),
        "RGBA.png": save(see_through, "png"),
        "upside down.png": save(image, "png", exif=orientation(3)),
        "LA.png": save(see_through.convert("LA"), "png"),
        "16-bit RGBA.png": tf.io.encode_png(np.concatenate([deep, deep_alpha], -1)).numpy(),
        "alpha.bmp": bmp_with_alpha(COLOURS, ALPHA),
        **{f"{mode}.tif": save(image.convert(mode), "tiff") for mode in ("1", "L", "P", "RGB", "CMYK")},
        "RGBA.tif": save(see_through, "tiff", compression="tiff_lzw"),
        "16-bit grey.tif": save(Image.fromarray(DEEP), "tiff", compression="tiff_adobe_deflate"),
        "pages.tif": save(image, "tiff", save_all=True, append_images=[see_through.convert("L")]),
        "upside down.tif": save(image, "tiff", tiffinfo={0x0112: 3}),
        "lossless.webp": save(image, "webp", lossless=True),
        "lossy.webp": save(image, "webp", quality=50),
        "RGBA.webp": save(see_through, "webp", lossless=True, exact=True),
        "moving.webp": save(image, "webp", lossless=True, save_all=True, append_images=[palette]),
        "upside down.webp": save(image, "webp", lossless=True, exif=orientation(3)),
        "unused alpha.bmp": bmp_with_alpha(COLOURS, np.zeros_like(ALPHA)),
    }


def compressed() -> dict[str, bytes]:
    """Every kind of JPEG."""
    image = Image.fromarray(COLOURS)
    options: dict[str, dict[str, object]] = {
        "plain": {},
        "progressive": {"progressive": True},
        "full colour": {"subsampling": 0},
        "upside down": {"exif": orientation(3)},
    }
    return {
        f"{mode} {name}.jpg": save(image.convert(mode), "jpeg", **options[name])
        for mode in ("L", "RGB", "CMYK")
        for name in options
    }


ENCODED = {**lossless(), **compressed()}
"""Name with its ending -> content; all of `HEIGHT` by `WIDTH` pixels."""
