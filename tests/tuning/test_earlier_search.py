"""A search of the version before: it goes on, and trains nothing again."""
