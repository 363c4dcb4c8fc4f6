"""From a configuration to a trained network."""

__all__ = [
    "checkpoint",
    "checkpoint_callbacks",
    "devices",
    "linear_head",
    "networks",
    "resolve",
    "run",
    "train",
    "variables",
]
