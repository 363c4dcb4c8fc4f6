"""What `--weights` and `--teacher` bring beside a network: settings of the run that it is of."""

import os
from typing import Any

from pipeline.config.published import IMAGENET, PUBLISHED, published_settings
from pipeline.ready_models import find_place
from pipeline.run_directory import RunDirectory

FROM_SCRATCH = ("", "none")
"""What `--weights` calls none."""

OF_A_RUN = ("model", "width", "stem", "shortcut", "image_size")


def settings_of_weights(weights: str, model: str) -> dict[str, Any]:
    """Return the settings that go with weights, by name; none where they do not tell.

    Args:
        weights: as `--weights` names them.
        model: the network that is asked for.

    Raises:
        UserError: they are a finished run whose settings cannot be understood.
    """
    if weights in FROM_SCRATCH:
        return {}
    if weights == IMAGENET:
        return published_settings(model) if model in PUBLISHED else {}
    path = find_place(weights)
    directory = RunDirectory(path.parent if path.name == "model.keras" else path)
    if not (os.path.isfile(directory.metrics) and os.path.isfile(directory.config)):
        return {}
    values = directory.load_finished().values()
    return {name: values[name] for name in OF_A_RUN}


def settings_of_teacher(teacher: str, data: str) -> dict[str, Any]:
    """Return the setting by which the same images are split as for a teacher; none of other images.

    Split otherwise, the student would be measured on what its teacher learned from.

    Args:
        teacher: as `--teacher` names it; empty for none.
        data: as `--data` names the images.

    Raises:
        UserError: it is a finished run whose settings cannot be understood.
    """
    directory = RunDirectory(find_place(teacher))
    if not (teacher and os.path.isfile(directory.metrics) and os.path.isfile(directory.config)):
        return {}
    config = directory.load_finished()
    return {"split_seed": config.split_seed} if config.data.data == data else {}
