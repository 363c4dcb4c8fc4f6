"""Run a .tflite file in LiteRT: pixels in, scores out."""

from collections.abc import Iterable

import numpy as np
from ai_edge_litert import interpreter as litert

from pipeline.console.quiet_start import hold_back_notices


def quantize(values: np.ndarray, scale: float, zero_point: int, dtype: np.dtype) -> np.ndarray:
    """Compute `round(values / scale) + zero_point`, within the range of the integer type."""
    limits = np.iinfo(dtype)
    levels = np.rint(np.asarray(values, np.float32) / np.float32(scale)) + zero_point
    return np.clip(levels, limits.min, limits.max).astype(dtype)


def dequantize(levels: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """Compute `(levels - zero_point) * scale`, float32."""
    return (levels.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)


class Interpreter:
    """LiteRT, loaded with a network of one input and one output, for batches of one image.

    Args:
        content: the .tflite file.
        threads: to compute with.
        reference: use the plain kernels, which TensorFlow Lite Micro's are derived from, instead
            of the optimised ones; they differ by up to one level of int8.
        keep_tensors: keep every tensor of the last run, at the cost of speed.
    """

    def __init__(
        self, content: bytes, *, threads: int = 1, reference: bool = False, keep_tensors: bool = False
    ) -> None:
        kernels = litert.OpResolverType.AUTO
        if keep_tensors:
            # A delegate takes many operations as one and shows nothing of what is between.
            kernels = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        if reference:
            kernels = litert.OpResolverType.BUILTIN_REF
        with hold_back_notices():
            self._interpreter = litert.Interpreter(
                model_content=content,
                num_threads=threads,
                experimental_op_resolver_type=kernels,
                experimental_preserve_all_tensors=keep_tensors,
            )
            self._interpreter.allocate_tensors()
        (self.input,) = self._interpreter.get_input_details()
        (self.output,) = self._interpreter.get_output_details()

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Turn pixels in [0, 255] into what the file's input takes."""
        if np.issubdtype(self.input["dtype"], np.floating):
            return images.astype(self.input["dtype"])
        scale, zero_point = self.input["quantization"]
        return quantize(images, scale, zero_point, self.input["dtype"])

    def decode(self, scores: np.ndarray) -> np.ndarray:
        """Turn what the file's output gives into float32 scores."""
        if np.issubdtype(self.output["dtype"], np.floating):
            return scores.astype(np.float32)
        return dequantize(scores, *self.output["quantization"])

    def run(self, encoded: np.ndarray) -> np.ndarray:
        """Run one image, [1, height, width, 3] as `encode` returns it; scores, [1, classes]."""
        self._interpreter.set_tensor(self.input["index"], encoded)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self.output["index"])

    def predict(self, images: Iterable[np.ndarray]) -> np.ndarray:
        """Return float32 scores [images, classes] of pixels [images, height, width, 3]."""
        rows = [self.run(self.encode(image[None])) for image in images]
        return self.decode(np.concatenate(rows))

    def count_delegated(self) -> tuple[int, int]:
        """Count the operations that a delegate took over, and all there are in the file.

        LiteRT leaves the operations in its list and appends one `DELEGATE` for each part that a
        delegate took, with the tensors which that part reads from outside and those it gives to the
        outside. What it took is therefore all that lies between: whatever writes its outputs, and so
        on backwards as far as its inputs. A DELEGATE does not tell whose it is; LiteRT's one default
        is XNNPACK.
        """
        nodes = self._interpreter._get_ops_details()
        operations = [node for node in nodes if node["op_name"] != "DELEGATE"]
        delegates = [node for node in nodes if node["op_name"] == "DELEGATE"]
        writer = {tensor: node for node in operations for tensor in node["outputs"]}
        taken: set[int] = set()
        for delegate in delegates:
            known = set(delegate["inputs"])
            ahead = list(delegate["outputs"])
            while ahead:
                tensor = ahead.pop()
                if tensor in known or tensor not in writer:
                    continue
                known.add(tensor)
                taken.add(writer[tensor]["index"])
                ahead.extend(writer[tensor]["inputs"])
        return len(taken), len(operations)

    def tensor(self, index: int) -> np.ndarray:
        """Return a tensor of the last run, as stored; needs `keep_tensors` unless an output."""
        return self._interpreter.get_tensor(index)
