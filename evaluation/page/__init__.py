"""The report as a page: charts, images and templates."""

__all__ = ["comparison_page", "gallery", "images", "page", "summary"]
