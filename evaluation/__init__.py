"""Measures a finished run: how good, how sure and how fragile its network is."""

__all__ = ["explain", "labelled_images", "metrics", "page"]
