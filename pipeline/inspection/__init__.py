"""A network shown: its parts, its table and its diagram."""

__all__ = ["summary"]
