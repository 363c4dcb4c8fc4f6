"""Settings, presets and the table of networks; standard library only."""

__all__ = ["architectures", "config", "option", "presets", "published", "reading", "settings", "tfds_folder"]
