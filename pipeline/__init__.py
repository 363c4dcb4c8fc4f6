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
    "own_files",
    "pareto",
    "run_directory",
    "training",
]
