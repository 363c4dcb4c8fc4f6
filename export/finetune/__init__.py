"""Training a network for int8, with the rounding of its int8 file simulated."""

__all__ = ["training"]
