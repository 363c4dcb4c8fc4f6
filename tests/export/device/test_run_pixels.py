"""The pixels that the bundle's run.py gives the network, against those of training."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from export.device import run
from pipeline.data.decoding.decode import decode_image
from pipeline.data.decoding.resize import resize_image
from tests.encodings import ENCODED, enormous
from tests.export.device.samples import classify

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


@pytest.mark.parametrize("name", ENCODED)
def test_decodes_as_training_did(name, tmp_path):
    content = ENCODED[name]
    (tmp_path / name).write_bytes(content)
    decoded = run.decode(tmp_path / name, True)
    assert decoded.mode == "RGB"
    expected = decode_image(content).numpy().astype(int)
    assert np.asarray(decoded).shape == expected.shape
    # Both use libjpeg-turbo's accurate integer transform; another build may round otherwise.
    assert np.abs(np.asarray(decoded) - expected).max() <= (2 if name.endswith("jpg") else 0)


@pytest.mark.parametrize("kind", ["png", "bmp", "gif", "jpg"])
def test_an_enormous_image_is_refused_as_in_training(kind, tmp_path):
    path = tmp_path / f"large.{kind}"
    path.write_bytes(enormous(kind))
    with pytest.raises(run.UnfitImage) as refused:
        run.decode(path, True)
    assert run.explain(refused.value) == "20,000 x 20,000 pixels are more than 178,956,970"


def test_an_enormous_image_is_no_damaged_one_where_pillow_alone_decides(bundle, tmp_path):
    # In this process training has lifted Pillow's own limit already, which calls it damaged.
    (tmp_path / "large.png").write_bytes(enormous("png"))
    result = classify(bundle, tmp_path / "large.png")
    error = f"error: {tmp_path / 'large.png'}: 20,000 x 20,000 pixels are more than 178,956,970\n"
    assert (result.returncode, result.stderr) == (1, error)


@pytest.mark.parametrize("name", ["RGB plain.jpg", "CMYK progressive.jpg", "RGB.png", "P.gif"])
def test_refuses_images_that_were_cut_short(name, tmp_path):
    content = ENCODED[name]
    for length in range(0, len(content) - 12, len(content) // 12):  # PNG's end mark has 12 bytes
        (tmp_path / name).write_bytes(content[:length])
        # Pillow raises nearly every kind, and run.py reports them all.
        with pytest.raises(Exception):  # noqa: B017, PT011
            run.decode(tmp_path / name, True)
