"""Which trial comes next."""

__all__ = ["oracles", "search_oracle"]
