"""Folders of labelled images: their layout, the check of every file, and the table that comes of it."""

__all__ = ["check", "findings", "folder", "layout"]
