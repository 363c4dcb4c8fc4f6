"""What is searched, and within which limits."""
