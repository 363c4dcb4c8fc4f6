"""Classify images with a trained network, from the command line."""

import sys

from pipeline.console.prediction_request import parse_prediction_request
from pipeline.console.quiet_start import load_tensorflow_quietly
from pipeline.console.run_command import DONE, FAILED, run_command
from pipeline.prediction.model_file import find_model


def main(arguments: list[str]) -> int:
    """Run `predict.py` with `arguments`; return its exit code."""
    return run_command(_predict, arguments, "interrupted")


def _predict(arguments: list[str]) -> int:
    request = parse_prediction_request(arguments)
    model = find_model(request.model)

    # Not before the command line is understood: TensorFlow takes seconds to load.
    load_tensorflow_quietly()
    from evaluation.labelled_images import describe_score
    from pipeline.prediction.predict import predict, prints_csv

    answered = predict(request, model)
    if score := describe_score(answered, request.unsure):
        print(score, file=sys.stderr if prints_csv(request) else sys.stdout)
    return FAILED if answered.unreadable else DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
