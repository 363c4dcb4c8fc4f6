"""What run.py sees of original files is held to what training saw."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from export.errors import ExportFailed
from export.verify.pixels import FILES, verify_device_pixels
from pipeline.data.decoding.decode import decode_image
from pipeline.data.decoding.resize import resize_image
from pipeline.data.table import ArrayImages, EncodedImages, Source
from tests.encodings import ENCODED, lossless

SIZE = 16


def source_of(images: ArrayImages | EncodedImages, count: int) -> Source:
    rows = np.arange(count)
    return Source("made up", ("a", "b"), rows % 2, np.zeros((count, 8), np.uint8), images, {"train": rows})


def on_disk(contents: list[bytes]) -> Source:
    table = tf.constant(contents, tf.string)
    return source_of(EncodedImages(lambda row: tf.gather(table, row)), len(contents))


@pytest.mark.parametrize("contents", [[*ENCODED.values()], [*lossless().values()][:5]], ids=["all", "five"])
def test_every_encoding_passes(contents, tmp_path):
    found = verify_device_pixels(on_disk(contents), SIZE, tmp_path / "worst.png")
    assert found.files == min(FILES, len(contents))
    # Two builds of libjpeg, and three roundings.
    assert 0 < found.largest_difference <= 3
    assert not any(tmp_path.iterdir())


def test_images_in_memory_are_held_to_the_files_that_were_kept(tmp_path):
    contents = [*lossless().values()]
    pixels = np.stack([decode_image(content) for content in contents])
    kept = dict(list(enumerate(contents))[::3])
    found = verify_device_pixels(
        source_of(ArrayImages(pixels, kept), len(contents)), SIZE, tmp_path / "w.png"
    )
    assert found.files == len(kept)
    assert found.largest_difference <= 1


def test_without_files_there_is_nothing_to_compare(tmp_path):
    pixels = np.zeros((4, 8, 8, 3), np.uint8)
    assert verify_device_pixels(source_of(ArrayImages(pixels), 4), 8, tmp_path / "w.png") is None


def test_another_decoder_is_found_out_and_shown(tmp_path):
    contents, worst = [ENCODED["RGB.png"], ENCODED["RGBA.png"]], tmp_path / "failed" / "worst.png"
    # Colours that nobody sees, as TensorFlow alone decodes them.
    pixels = np.stack([tf.io.decode_image(content, 3) for content in contents])
    source = source_of(ArrayImages(pixels, dict(enumerate(contents))), 2)
    with pytest.raises(ExportFailed) as failed:
        verify_device_pixels(source, SIZE, worst)
    assert str(failed.value).startswith(
        "run.py must see an image as training did; image 1 of made up is up to"
    )
    assert str(failed.value).endswith(f"levels off, see {worst}")
    left, right = np.split(np.asarray(Image.open(worst)), 2, axis=1)
    ours, theirs = (resize_image(image, SIZE) for image in (pixels[1], decode_image(contents[1])))
    np.testing.assert_array_equal(left[::SIZE, ::SIZE], ours)
    # Pillow rounds after each of its two passes.
    assert np.abs(right[::SIZE, ::SIZE].astype(int) - theirs.numpy()).max() <= 1


def test_what_run_py_cannot_read_fails(tmp_path):
    webp = "a made-up file of another kind"
    source = source_of(ArrayImages(np.zeros((1, 8, 8, 3), np.uint8), {0: webp.encode()}), 1)
    with pytest.raises(ExportFailed, match=r"must read what training read; must be a JPEG, "):
        verify_device_pixels(source, SIZE, tmp_path / "w.png")
