"""The figures of an evaluation, each from what a network answered."""

__all__ = [
    "accuracy",
    "answers",
    "calibration",
    "cost",
    "intervals",
    "label_errors",
    "mistakes",
    "quantised",
    "robustness",
]
