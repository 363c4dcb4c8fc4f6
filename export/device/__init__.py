"""What is copied into a bundle and runs on a device."""

__all__ = ["run"]
