"""Run an .onnx file in ONNX Runtime: pixels in, scores out.

A process that measures imports this module: no TensorFlow here.
"""

import numpy as np
import onnxruntime

from pipeline.console.quiet_start import hold_back_notices


class Session:
    """ONNX Runtime on the processor, loaded with a network of one input and one output.

    Args:
        content: the .onnx file.
        threads: to compute with.
    """

    def __init__(self, content: bytes, *, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        with hold_back_notices():
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        (self._input,) = self._session.get_inputs()

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Turn pixels in [0, 255] into what the file's input takes."""
        return images.astype(np.float32)

    def run(self, encoded: np.ndarray) -> np.ndarray:
        """Run [images, height, width, 3] as `encode` returns it; scores, float32 [images, classes]."""
        (scores,) = self._session.run(None, {self._input.name: encoded})
        return scores

    def count_delegated(self) -> tuple[None, None]:
        """Of no operation it is told who computes it: ONNX Runtime fuses and computes them all."""
        return None, None
