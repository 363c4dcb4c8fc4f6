"""What is searched, and within which limits."""

__all__ = ["budget", "limits", "narrowing", "search_space"]
