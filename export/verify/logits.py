"""Whether exported files give the float network's scores, and the evidence where they do not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from export.errors import ExportFailed
from export.onnx.file import PIXELS, SCORES, OnnxFile
from export.verify.evidence import write_enlarged
from pipeline.files.whole import write_whole
from pipeline.tflite.file import TFLiteFile

SAVED_MODEL_TOLERANCE = 1e-5
"""The same kernels: only fusing them and another batch size may round otherwise."""

FLOAT32_TOLERANCE = 1e-4
"""Other kernels, with batch normalisation folded into the weights."""


ONNX_TOLERANCE = 1e-5
"""Other kernels, with batch normalisation folded into the weights."""


def verify_close(
    name: str,
    images: np.ndarray,
    expected: np.ndarray,
    received: np.ndarray,
    tolerance: float,
    worst_input: Path,
) -> float:
    """Check a format's scores against the float network's; return the largest difference.

    Everywhere, `|received - expected| <= tolerance * max(1, greatest |expected|)`. Sums in float32
    round in proportion to their terms, so logits in the tens cannot meet what those below 1 do:
    trained residual networks differed by up to 8e-7 of the greatest, from kernel to kernel.

    Args:
        name: of the format, for the message.
        images: uint8 [images, height, width, 3].
        expected: float32 [images, classes], of the float network.
        received: float32 [images, classes], of the exported file.
        tolerance: for scores up to 1; greater ones get as many times more.
        worst_input: .npz file for the image that failed worst, `image` [1, height, width, 3],
            with the scores `expected` and `received` [1, classes]; a .png goes beside it. Its
            folder is made only then.

    Raises:
        ExportFailed: beyond the tolerance, not finite, or of another shape.
    """
    if received.shape != expected.shape:
        _save_image(0, images, expected, received, worst_input)
        raise ExportFailed(
            f"{name} must give scores of shape {expected.shape}; received {received.shape}, "
            f"those of image 0 are in {worst_input}"
        )
    with np.errstate(invalid="ignore"):
        differences = np.abs(received.astype(np.float64) - expected)
    farthest = np.where(np.isfinite(differences), differences, np.inf).max(axis=-1)
    worst = int(farthest.argmax())
    limit = tolerance * np.max(np.abs(expected), where=np.isfinite(expected), initial=1.0)
    if farthest[worst] > limit:
        _save_image(worst, images, expected, received, worst_input)
        finite = np.isfinite(farthest[worst])
        how_far = f"off by {farthest[worst]:.3g}" if finite else "not all finite"
        raise ExportFailed(
            f"{name} must give the float network's scores within {limit:.3g}; those of image "
            f"{worst} are {how_far}, see {worst_input}"
        )
    return float(farthest[worst])


def _save_image(
    index: int, images: np.ndarray, expected: np.ndarray, received: np.ndarray, path: Path
) -> None:
    one = slice(index, index + 1)
    arrays = {"image": images[one], "expected": expected[one], "received": received[one]}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda aside: np.savez(aside, **arrays))  # type: ignore[arg-type]  # none is allow_pickle
    write_enlarged(images[index], path.with_suffix(".png"))


def verify_saved_model(path: Path, images: np.ndarray, expected: np.ndarray, worst_input: Path) -> float:
    """Check a SavedModel image by image and on all at once; return the largest difference.

    Args:
        path: what `export.convert.network.export_saved_model` wrote.
        images: uint8 [images, height, width, 3].
        expected: float32 [images, classes], of the float network.
        worst_input: as for `verify_close`.

    Raises:
        ExportFailed: another signature than `serve`, from `pixels` to `scores`, or other scores.
    """
    # The signature's function alone would not keep the model's variables alive.
    loaded = tf.saved_model.load(str(path))
    serve = loaded.signatures.get("serve")
    pixels = tf.TensorSpec([None, *images.shape[1:]], tf.uint8, name="pixels")
    received = serve and (*serve.structured_input_signature, list(serve.structured_outputs))
    if received != ((), {"pixels": pixels}, ["scores"]):
        raise ExportFailed(
            f"saved_model must have the signature serve, from {pixels} to scores; received {received}"
        )

    def predict(batch: np.ndarray) -> np.ndarray:
        return serve(pixels=tf.constant(batch))["scores"].numpy()

    return _verify_batches("saved_model", predict, images, expected, SAVED_MODEL_TOLERANCE, worst_input)


def verify_float32(file: TFLiteFile, images: np.ndarray, expected: np.ndarray, worst_input: Path) -> float:
    """Check the float32 .tflite file in LiteRT; return the largest difference.

    Args:
        file: the network in float32.
        images: uint8 [images, height, width, 3].
        expected: float32 [images, classes], of the float network.
        worst_input: as for `verify_close`.

    Raises:
        ExportFailed: other scores.
    """
    return verify_close("float32", images, expected, file.predict(images), FLOAT32_TOLERANCE, worst_input)


def verify_onnx(file: OnnxFile, images: np.ndarray, expected: np.ndarray, worst_input: Path) -> float:
    """Check the float32 .onnx file image by image and on all at once; return the largest difference.

    Args:
        file: the network in float32.
        images: uint8 [images, height, width, 3].
        expected: float32 [images, classes], of the float network.
        worst_input: as for `verify_close`.

    Raises:
        ExportFailed: it is not from `pixels` to `scores`, or gives other scores.
    """
    names = file.input.name, file.output.name
    if names != (PIXELS, SCORES):
        raise ExportFailed(f"onnx must be from {PIXELS} to {SCORES}; received {' to '.join(names)}")
    return _verify_batches("onnx", file.predict, images, expected, ONNX_TOLERANCE, worst_input)


def _verify_batches(
    what: str,
    predict: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    expected: np.ndarray,
    tolerance: float,
    worst_input: Path,
) -> float:
    """Check what takes batches of any size with none, one and all images; return the largest difference."""
    none = predict(images[:0]).shape
    if none != (0, expected.shape[-1]):
        raise ExportFailed(f"{what} must give no scores for no images; received {none}")
    singly = np.concatenate([predict(image[None]) for image in images])
    return max(
        verify_close(name, images, expected, scores, tolerance, worst_input)
        for name, scores in {
            f"{what}, one image at a time,": singly,
            f"{what}, {len(images)} images at once,": predict(images),
        }.items()
    )
