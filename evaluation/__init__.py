"""Measures a finished run: how good, how sure and how fragile its network is."""

__all__ = ["labelled_images"]
