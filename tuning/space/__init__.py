"""What is searched, and within which limits."""

__all__ = ["limits", "narrowing", "search_space"]
