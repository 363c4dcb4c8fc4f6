"""The figures of an evaluation, each from what a network answered."""
