"""The report as a page: charts, images and templates."""
