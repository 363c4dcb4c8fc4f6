"""Golden vectors: images and the exact bytes that a port of the network must answer with."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from export.errors import ExportFailed
from pipeline.files.json_file import to_json
from pipeline.files.whole import write_whole
from pipeline.tflite.file import TFLiteFile, crc32
from pipeline.tflite.interpreter import Interpreter

README = """\
# Golden vectors

For whoever ports the network to a board: what goes into the model file, and what must come out.

| file | holds |
| --- | --- |
| `input_0.bin` | the input tensor, byte for byte: rows from the top, pixels from the left, R G B |
| `output_0.bin` | the output tensor, byte for byte: one score a class |
| `input_0.png` | the same image, to look at or to try your own preprocessing on |
| `golden.json` | sizes and CRC-32s, and dtype, shape, scale and zero point of both tensors |
| `large.png` | an image of 320 x 240, to try resizing on |
| `large.bin` | the pixels that must come out of it, before they enter: rows from the top, R G B |
| `large.json` | how, as `image` in preprocessing.json has it, and size and CRC-32 of the pixels |

Numbers of several bytes are little-endian. A quantised number stands for
`scale * (level - zero_point)`, and a pixel enters as `round(pixel / scale) + zero_point`; where
scale and zero point are `null`, nothing is quantised.

1. Compare the CRC-32 of the model file on the board with `model` in `golden.json`, which names the
   file in the bundle. It is the one of zlib, gzip and PNG: of the nine bytes `123456789` it is `0xcbf43926`.
2. Put the vectors into your program. Of an int8 file the bundle's `micro/` has them as constant arrays; of
   another, `xxd -i input_0.bin > input_0.h` makes one.
3. Run the network on them and compare every byte of the output:

```c++
memcpy(interpreter.input(0)->data.raw, input_0_bin, input_0_bin_len);
interpreter.Invoke();
int differs = memcmp(interpreter.output(0)->data.raw, output_0_bin, output_0_bin_len);
```

Pillow made `large.bin`, as run.py resizes every image: it rounds to a level after each of its two passes,
along rows and then along columns. A resize that rounds once, at the end, is up to a level off, as
training was, and that is no mistake.

The answers come from LiteRT's reference kernels. Those of TensorFlow Lite Micro equal them bit for
bit, save for one level after FULLY_CONNECTED in integers or SOFTMAX in int16. Optimised kernels
round otherwise, and it is no mistake where their scores are some levels off in int8 (a level or two in a
small network, up to five were seen in a ResNet18), or in float32 in the last bits. `top_class`, the
first of the greatest scores, must be the same unless two scores are that close.
"""


def write_golden(name: str, file: TFLiteFile, images: np.ndarray, folder: Path) -> None:
    """Write test vectors for a port of a .tflite file, and how to use them.

    Args:
        name: of the file in the bundle.
        file: the network that is ported.
        images: uint8 [images, height, width, 3]; a few.
        folder: for `input_N.bin`, `output_N.bin`, `input_N.png`, `golden.json` and `README.md`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {**_build_vectors(name, file, images), "README.md": README.encode()}
    for name, data in files.items():
        write_whole(folder / name, partial(Path.write_bytes, data=data))
    for number, image in enumerate(images):
        write_whole(folder / f"input_{number}.png", Image.fromarray(image).save)


def verify_golden(name: str, file: TFLiteFile, folder: Path) -> None:
    """Check that the model still answers each image in `folder` with the bytes beside it.

    Args:
        name: of the file in the bundle.
        file: the network that is ported.
        folder: what `write_golden` wrote.

    Raises:
        ExportFailed: a file is missing, or other than what image and model give.
    """
    for beside, expected in _build_vectors(name, file, _read_images(folder)).items():
        received = (folder / beside).read_bytes() if (folder / beside).exists() else b""
        if received != expected:
            raise ExportFailed(
                f"{folder / beside} must be what image and model give, {_sums(expected)}; "
                f"received {_sums(received)}"
            )


def _read_images(folder: Path) -> list[np.ndarray]:
    images = []
    for number in range(len(list(folder.glob("input_*.png")))):
        path = folder / f"input_{number}.png"
        try:
            with Image.open(path) as image:
                images.append(np.asarray(image))
        # Pillow's names for a file that is cut, mixed up or has a short header.
        except (OSError, SyntaxError, ValueError) as error:
            raise ExportFailed(f"{path} must be a whole PNG file; {error}") from error
    return images


def answer(file: TFLiteFile, images: Iterable[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Let LiteRT's reference kernels answer for uint8 images [height, width, 3].

    Returns:
        Of each image what goes in, [1, height, width, 3], and the scores, [1, classes], as the file has them.
    """
    model = Interpreter(file.content, reference=True)
    inputs = [model.encode(image[None]) for image in images]
    return [(encoded, model.run(encoded)) for encoded in inputs]


def _build_vectors(name: str, file: TFLiteFile, images: Iterable[np.ndarray]) -> dict[str, bytes]:
    """Run the network on `images` and return the files that tell of it, by name."""
    model = Interpreter(file.content)
    files: dict[str, bytes] = {}
    vectors = []
    for number, (encoded, scores) in enumerate(answer(file, images)):
        vector: dict[str, Any] = {"image": f"input_{number}.png"}
        for side, tensor in (("input", encoded), ("output", scores)):
            data = tensor.astype(tensor.dtype.newbyteorder("<")).tobytes()
            files[f"{side}_{number}.bin"] = data
            vector[side] = {"file": f"{side}_{number}.bin", **_sums(data)}
        vectors.append({**vector, "top_class": int(scores.argmax())})
    description = {
        "model": {"file": name, **_sums(file.content)},
        "input": _describe(model.input),
        "output": _describe(model.output),
        "vectors": vectors,
    }
    return {**files, "golden.json": to_json(description).encode()}


def _sums(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "crc32": crc32(data)}


def _describe(tensor: dict[str, Any]) -> dict[str, Any]:
    scale, zero_point = tensor["quantization"]
    # LiteRT gives a tensor without quantisation the scale 0.
    quantised = scale != 0
    return {
        "dtype": np.dtype(tensor["dtype"]).name,
        "shape": tensor["shape"].tolist(),
        "scale": float(scale) if quantised else None,
        "zero_point": int(zero_point) if quantised else None,
    }
