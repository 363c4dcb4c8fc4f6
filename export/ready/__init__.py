"""From a finished, exported run to a ready model: `python -m export.ready RUN_DIR FOLDER`."""

__all__ = []
