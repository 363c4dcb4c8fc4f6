"""A page on this machine that shows what a network answers."""

__all__ = ["answers", "page_files", "server"]
