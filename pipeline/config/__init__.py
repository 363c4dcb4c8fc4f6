"""Settings, presets and the table of networks; standard library only."""

__all__ = [
    "architectures",
    "config",
    "host_addresses",
    "option",
    "presets",
    "published",
    "reading",
    "settings",
    "tfds_folder",
]
