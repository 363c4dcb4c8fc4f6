"""From a configuration to a trained network."""

__all__ = ["checkpoint", "devices", "networks", "resolve", "run", "train"]
