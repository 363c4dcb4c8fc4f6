"""The int8 file in a browser: a page with a camera, which any static server serves."""

__all__ = ["folder", "model"]
