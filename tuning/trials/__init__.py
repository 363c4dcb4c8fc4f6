"""One trial: how it is trained, stopped early, recorded and confirmed."""

__all__ = ["confirmation", "median_stopping", "results", "spending", "trial"]
