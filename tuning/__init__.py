"""Bayesian and other searches for better hyperparameters, with KerasTuner."""

# To the benchmarks alone, which time these parts of a search.
__all__ = ["oracles", "plan", "space", "trials"]
