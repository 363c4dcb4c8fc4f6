"""Settings, presets and the table of networks; standard library only."""

__all__ = ["architectures", "config", "option", "presets", "reading", "settings", "tfds_folder"]
