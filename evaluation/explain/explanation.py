"""Grad-CAM of a run's networks over its diagrams: Keras', and of the exported files."""

import contextlib
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np

from evaluation.explain.gradcam import GradCAM, last_feature_maps, overlay
from evaluation.explain.gradcam_tflite import TFLiteGradCAM
from evaluation.networks.deployed import DeployedFile
from evaluation.page.gallery import Gallery

Explainer = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Images uint8 [n, height, width, 3] and a class of each -> maps [n, height, width]."""


class Explanation:
    """Explains images where a network can be explained.

    Args:
        model: the Keras network.
        deployed: exported files of it.
        gallery: which loads the images.

    Attributes:
        layer: whose feature maps are looked at; None for a network that has none.
    """

    def __init__(self, model: keras.Model, deployed: Sequence[DeployedFile], gallery: Gallery) -> None:
        self._gallery = gallery
        features = last_feature_maps(model)
        self.layer = None if features is None else features._keras_history.operation.name
        self._explainers: dict[str, Explainer] = {}
        if self.layer:
            self._explainers["keras"] = GradCAM(model).maps
            for file in deployed:
                # A file that ends otherwise has no maps that could be shown.
                with contextlib.suppress(ValueError):
                    self._explainers[file.name] = TFLiteGradCAM(file.tflite).maps

    def overlays(
        self, rows: np.ndarray, classes: Mapping[str, tuple[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        """Draw where networks find the evidence for a class of each image.

        Args:
            rows: int64 [images], of the table.
            classes: name of each view -> the network, and int64 [images] which class.

        Returns:
            View -> uint8 [images, height, width, 3]; without those of networks that cannot be
            explained.
        """
        if len(rows) == 0:
            return {}
        images, drawn = self._gallery.load(rows), {}
        for view, (network, wanted) in classes.items():
            if explainer := self._explainers.get(network):
                drawn[view] = overlay(images, explainer(images, wanted))
        return drawn
