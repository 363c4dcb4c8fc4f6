"""EfficientNet-Lite0 as ImageNet taught it: the weights lie in this folder, README.md says whence."""

from pipeline.pretrained.efficientnet_lite0.imagenet import imagenet_class_names, read_imagenet_weights

__all__ = ["convert", "imagenet_class_names", "read_imagenet_weights"]
