"""Which trial comes next."""

__all__ = ["curve_model", "freeze_thaw", "oracles", "search_oracle"]
