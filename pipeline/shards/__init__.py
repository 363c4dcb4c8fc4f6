"""Images of a folder, made smaller once, in the files of a set of TensorFlow Datasets."""

__all__ = ["write"]
