"""An .onnx file in memory: its bytes and what can be told of them."""

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.tflite.file import crc32
from pipeline.tflite.graph import Tensor

if TYPE_CHECKING:
    from export.onnx.session import Session

PIXELS, SCORES = "pixels", "scores"
"""What goes in, float32 [batch, height, width, 3], and what comes out, float32 [batch, classes]."""


@dataclass(frozen=True)
class OnnxFile:
    """A network of one input and one output, for batches of any size.

    Attributes:
        content: the bytes.
    """

    content: bytes

    @cached_property
    def crc32(self) -> str:
        """CRC-32 of the bytes: `0x0123abcd`."""
        return crc32(self.content)

    @property
    def size(self) -> int:
        """How large it is, bytes."""
        return len(self.content)

    @cached_property
    def model(self) -> Any:
        """What is inside: a `ModelProto` of the package onnx."""
        import onnx

        return onnx.load_model_from_string(self.content)

    @property
    def opset(self) -> int:
        """Version of ONNX's own operators that it asks for."""
        return next(each.version for each in self.model.opset_import if not each.domain)

    @property
    def input(self) -> Tensor:
        """What one image is, [1, height, width, 3]."""
        return _tensor(0, self.model.graph.input[0])

    @property
    def output(self) -> Tensor:
        """What one image's scores are, [1, classes]."""
        return _tensor(1, self.model.graph.output[0])

    @property
    def engine(self) -> "type[Session]":
        """What runs it."""
        from export.onnx.session import Session

        return Session

    @cached_property
    def _session(self) -> "Session":
        return self.engine(self.content, threads=os.cpu_count() or 1)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Answer for a batch, on all threads of this machine.

        Args:
            images: pixels in [0, 255], [images, height, width, 3].

        Returns:
            Scores, float32 [images, classes].
        """
        return self._session.run(self._session.encode(images))


def _tensor(index: int, value: Any) -> Tensor:
    """Describe an input or an output; the size that is left open, the batch, is 1."""
    import onnx

    kind = value.type.tensor_type
    shape = tuple(size.dim_value or 1 for size in kind.shape.dim)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    return Tensor(index, value.name, shape, dtype, np.array([]), np.array([], int), constant=False)
