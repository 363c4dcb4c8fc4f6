"""A .tflite file: what is in it, what it answers and how fast; nothing about where it came from."""

__all__ = ["constants", "file", "graph", "interpreter", "latency"]
