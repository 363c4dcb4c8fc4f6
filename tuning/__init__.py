"""Bayesian and other searches for better hyperparameters, with KerasTuner."""
