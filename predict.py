"""Classify images with a trained network, from the command line or on a page."""

import sys

from pipeline.console.prediction_request import Request, parse_prediction_request
from pipeline.console.quiet_start import load_tensorflow_quietly
from pipeline.console.run_command import DONE, FAILED, run_command
from pipeline.prediction.model_file import ModelFile, find_export, find_model, warn_of_numbers
from serving.server import PageServer, address_of, listen


def main(arguments: list[str]) -> int:
    """Run `predict.py` with `arguments`; return its exit code."""
    return run_command(_run, arguments, "interrupted")


def _run(arguments: list[str]) -> int:
    request = parse_prediction_request(arguments)
    model = find_model(request.model)
    return _predict(request, model) if request.serve is None else _serve(request, model, request.serve)


def _predict(request: Request, model: ModelFile) -> int:
    # Not before the command line is understood: TensorFlow takes seconds to load.
    load_tensorflow_quietly()
    from evaluation.labelled_images import describe_score
    from pipeline.prediction.predict import predict, prints_csv

    answered = predict(request, model)
    if answered is None:
        return DONE
    if score := describe_score(answered, request.unsure):
        print(score, file=sys.stderr if prints_csv(request) else sys.stdout)
    return FAILED if answered.unreadable else DONE


def _serve(request: Request, model: ModelFile, port: int) -> int:
    exported = find_export(request.model)
    with listen(port) as listening:
        load_tensorflow_quietly()
        from serving.answers import build_answer, load_networks
        from serving.page_files import read_page_files

        networks = load_networks([model, exported] if exported else [model])
        warn_of_numbers(model)
        answer = build_answer(networks, request.top, request.unsure)
        with PageServer(listening, read_page_files(request.model, networks), answer) as server:
            print(f"{request.model} answers at {address_of(listening)} (Ctrl-C ends it)", flush=True)
            server.serve_forever()
    return DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
