"""Grad-CAM of a .tflite file, from its own integers where it has them."""

import numpy as np

from evaluation.explain.gradcam import rectify_and_resize
from pipeline.tflite.file import TFLiteFile
from pipeline.tflite.graph import Graph, Tensor
from pipeline.tflite.interpreter import Interpreter, dequantize

_PASSING_ON = ("RESHAPE", "QUANTIZE", "DEQUANTIZE", "SOFTMAX")
"""What may stand at the file's end that neither weighs nor averages."""

_HEADS = ("CONV_2D", "FULLY_CONNECTED")


class TFLiteGradCAM:
    """Grad-CAM of a file, which has no gradients.

    But where global average pooling and one linear layer follow the feature maps, those of the
    logits are the layer's weights: d y_c / d A_k[i, j] = w_kc / (h w), so that Grad-CAM is CAM
    (Selvaraju et al. 2017, arXiv:1610.02391, section 3.1; Zhou et al. 2016, arXiv:1512.04150,
    section 2) but for the factor 1 / (h w), which the scaling of each map to [0, 1] cancels.

    Args:
        file: what to explain.

    Attributes:
        positions: height and width of the feature maps.

    Raises:
        ValueError: the file does not end in global average pooling and one linear layer.
    """

    def __init__(self, file: TFLiteFile) -> None:
        self._features, self._kernel = _features_and_kernel(file.graph)
        self.positions = self._features.shape[1:3]
        self._model = Interpreter(file.content, keep_tensors=True)

    def maps(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Explain one class of each image, as `GradCAM.maps` does.

        Args:
            images: uint8 [images, height, width, 3].
            classes: int [images], the class to explain.

        Returns:
            float32 [images, height, width] in [0, 1].
        """
        pairs = zip(images, classes, strict=True)
        sums = [self._explain(image, chosen) for image, chosen in pairs]
        return rectify_and_resize(np.stack(sums), images.shape[1:3])

    def _explain(self, image: np.ndarray, chosen: int) -> np.ndarray:
        model, features = self._model, self._features
        model.run(model.encode(image[None]))
        maps = model.tensor(features.index)[0]
        if features.scales.size:
            maps = dequantize(maps, features.scales[0], features.zero_points[0])
        # int8 weights stay levels: those of a class share one scale, which cancels as well. Read
        # after a run, because float16 weights are widened in one.
        weights = model.tensor(self._kernel.index)[chosen].reshape(-1)
        return maps @ weights.astype(np.float32)


def _features_and_kernel(graph: Graph) -> tuple[Tensor, Tensor]:
    """Return [1, h, w, channels] and the head's weights, [classes, ..., channels]."""
    *_, pooling, head = [o for o in graph.operations if o.name not in _PASSING_ON]
    if head.name not in _HEADS or pooling.name != "MEAN":
        raise ValueError(
            "Grad-CAM of a .tflite file needs MEAN of the feature maps and one linear layer at "
            f"its end; received {pooling.name} and {head.name}"
        )
    return pooling.inputs[0], head.inputs[1]
