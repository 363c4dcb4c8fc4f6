"""A .tflite file in memory: its bytes and what can be told of them."""

import os
import zlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.tflite.graph import Graph, Tensor, read_graph
from pipeline.tflite.interpreter import Interpreter


def crc32(content: bytes) -> str:
    """Return the CRC-32 of zlib, gzip and PNG in words: `0x0123abcd`."""
    return f"0x{zlib.crc32(content):08x}"


@dataclass(frozen=True)
class TFLiteFile:
    """A network of one input and one output, for batches of one image.

    Attributes:
        content: the bytes.
        layers: names of the Keras model's layers and operations, where they are known.
        tensor_names: of the tensors by index, where they were left out of the content.
    """

    content: bytes
    layers: tuple[str, ...] = ()
    tensor_names: tuple[str, ...] = ()

    @cached_property
    def graph(self) -> Graph:
        """What is inside; each operation is told the layer it came from, as far as `layers` go."""
        return read_graph(self.content, self.layers, self.tensor_names)

    @cached_property
    def crc32(self) -> str:
        """CRC-32 of the bytes: `0x0123abcd`."""
        return crc32(self.content)

    @property
    def size(self) -> int:
        """How large it is, bytes."""
        return len(self.content)

    @property
    def input(self) -> Tensor:
        """What one image is, [1, height, width, 3]."""
        return self.graph.input

    @property
    def output(self) -> Tensor:
        """What one image's scores are, [1, classes]."""
        return self.graph.output

    @property
    def engine(self) -> type[Interpreter]:
        """What runs it."""
        return Interpreter

    @cached_property
    def _interpreter(self) -> Interpreter:
        return Interpreter(self.content, threads=os.cpu_count() or 1)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Answer on all threads of this machine.

        Args:
            images: pixels in [0, 255], [images, height, width, 3].

        Returns:
            Scores, float32 [images, classes].
        """
        return self._interpreter.predict(images)
