"""From raw images to a trained, exactly resumable image classifier."""

__all__ = [
    "config",
    "console",
    "data",
    "environment",
    "errors",
    "files",
    "finished_run",
    "inspection",
    "models",
    "pareto",
    "places",
    "run_directory",
    "tflite",
    "training",
]
