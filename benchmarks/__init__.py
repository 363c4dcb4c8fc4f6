"""Side-by-side measurements against peers; each runs as `python -m benchmarks.NAME`."""

__all__ = []
