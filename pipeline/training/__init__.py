"""From a configuration to a trained network."""

__all__ = [
    "checkpoint",
    "checkpoint_callbacks",
    "devices",
    "linear_head",
    "networks",
    "optimization",
    "resolve",
    "run",
    "train",
    "variables",
]
