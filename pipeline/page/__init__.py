"""A page that answers for images and a camera, and the style that all pages share."""

__all__ = ["answering"]
