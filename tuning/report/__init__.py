"""What a search found, as tables and charts."""

__all__ = ["live_table", "report"]
