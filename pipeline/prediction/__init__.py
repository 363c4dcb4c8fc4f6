"""A trained network answers for images: runs, bundles and single files alike."""

__all__ = ["answers", "classifier", "model_file", "predict"]
