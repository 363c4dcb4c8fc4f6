"""A trained network answers for images: runs, bundles and single files alike."""

__all__ = ["classifier", "model_file", "predict"]
