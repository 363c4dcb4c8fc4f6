"""Grad-CAM of a run's networks over its images: of Keras', and of the exported files."""

import contextlib
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np

from evaluation.explain.gradcam import GradCAM, last_feature_maps, overlay
from evaluation.explain.gradcam_tflite import TFLiteGradCAM
from evaluation.networks.deployed import DeployedFile

Explainer = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Images uint8 [n, height, width, 3] and a class of each -> maps [n, height, width]."""


def explained_layer(model: keras.Model) -> str | None:
    """Name the layer whose feature maps are looked at; None for a network that has none."""
    features = last_feature_maps(model)
    return None if features is None else features._keras_history.operation.name


def build_explainers(model: keras.Model, deployed: Sequence[DeployedFile]) -> dict[str, Explainer]:
    """Build an explainer of each network that can be explained, by its name.

    Args:
        model: the Keras network.
        deployed: exported files of it.
    """
    explainers: dict[str, Explainer] = {}
    features = last_feature_maps(model)
    if features is not None:
        explainers["keras"] = GradCAM(model).maps
        for file in deployed:
            # A file that ends otherwise has no maps that could be shown.
            with contextlib.suppress(ValueError):
                gradcam = TFLiteGradCAM(file.tflite)
                # Its last maps may be smaller than those that Keras is explained at: of other layers, the
                # two would differ where the networks do not.
                if gradcam.positions == tuple(features.shape[1:3]):
                    explainers[file.name] = gradcam.maps
    return explainers


def draw_overlays(
    explainers: Mapping[str, Explainer], images: np.ndarray, classes: Mapping[str, tuple[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Draw where networks find the evidence for a class of each image.

    Args:
        explainers: by the network's name.
        images: uint8 [images, height, width, 3].
        classes: name of each view -> the network, and int64 [images] which class.

    Returns:
        View -> uint8 [images, height, width, 3]; without those of networks that cannot be explained.
    """
    if len(images) == 0:
        return {}
    return {
        view: overlay(images, explainers[network](images, wanted))
        for view, (network, wanted) in classes.items()
        if network in explainers
    }
