"""The large image of a bundle and the bytes beside it, against Pillow and what training sees."""

import json
import zlib

import numpy as np
import pytest
from PIL import Image

from export.bundle.golden_resize import verify_golden_resize, write_golden_resize
from export.errors import ExportFailed
from pipeline.config.reading import Reading

SIZE = 24


def expected(image: Image.Image, how: str) -> np.ndarray:
    """Of 320 x 240 pixels: the whole, the middle 210, or 24 x 18 between 3 rows above and below."""
    box = (55, 15, 265, 225) if how == "crop" else None
    size = (SIZE, 18) if how == "pad" else (SIZE, SIZE)
    fitted = np.asarray((image.crop(box) if box else image).resize(size, Image.Resampling.BILINEAR))
    return np.pad(fitted, ((3, 3), (0, 0), (0, 0)), constant_values=128) if how == "pad" else fitted


@pytest.mark.parametrize("how", ["squash", "crop", "pad"])
def test_the_bytes_are_those_of_the_image(how, tmp_path):
    reading = Reading(resize=how)
    write_golden_resize(SIZE, reading, tmp_path)
    verify_golden_resize(SIZE, reading, tmp_path)
    data = (tmp_path / "large.bin").read_bytes()
    with Image.open(tmp_path / "large.png") as image:
        assert image.size == (320, 240)
        assert data == expected(image, how).tobytes()
        # Without antialiasing another image comes out.
        plain = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.NEAREST)).astype(int)
    assert np.abs(plain - np.frombuffer(data, np.uint8).reshape(SIZE, SIZE, 3)).max() > 60
    described = json.loads((tmp_path / "large.json").read_text())
    assert described["image"] == "large.png"
    assert described["how"] == {"exif_orientation": True, "resize": how, "crop_share": 0.875, "border": 128}
    assert described["pixels"] == {
        **{"file": "large.bin", "shape": [SIZE, SIZE, 3], "bytes": len(data)},
        "crc32": f"0x{zlib.crc32(data):08x}",
    }


def test_bytes_of_another_way_or_size_are_noticed(tmp_path):
    write_golden_resize(SIZE, Reading(resize="crop"), tmp_path)
    with pytest.raises(ExportFailed, match=r"large\.bin must be .* received bytes up to \d+ levels off"):
        verify_golden_resize(SIZE, Reading(), tmp_path)
    with pytest.raises(ExportFailed, match="768 bytes up to rounding; received 1728 bytes"):
        verify_golden_resize(16, Reading(resize="crop"), tmp_path)
