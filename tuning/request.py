"""From the command line of `python -m tuning` to what is to be searched."""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.presets import PRESETS
from pipeline.console.command_line import Parser, add_settings
from pipeline.console.command_line import Request as TrainingRequest
from pipeline.errors import UserError, unknown
from tuning.plan import TUNERS, SearchPlan
from tuning.space.limits import Limits
from tuning.space.narrowing import fix, keep_only, narrow
from tuning.space.search_space import STRENGTHS, search_space, setting

FIXED_BY = {
    "peak_learning_rate": ("peak_learning_rate", "adaptive_learning_rate"),
    "mixup": ("mixing", "mixing_alpha"),
    "cutmix": ("mixing", "mixing_alpha"),
    **{strength: ("augment_strength",) for strength in STRENGTHS},
}
"""Settings that fix hyperparameters of other names."""


@dataclass(frozen=True)
class Request:
    """What the command line asks for.

    Attributes:
        plan: what to search.
        out: where.
        workers: processes that train side by side.
        list_space: only show the space.
    """

    plan: SearchPlan
    out: Path
    workers: int
    list_space: bool


def parse_tuning_request(arguments: Sequence[str]) -> Request:
    """Read the command line of `python -m tuning`.

    Raises:
        UserError: anything that cannot be understood or contradicts itself.
    """
    values = vars(_build_parser().parse(list(arguments)))
    limits = Limits(**{name: values.pop(name) for name in Limits.__dataclass_fields__})
    own = {name: values.pop(name) for name in OWN}
    training = TrainingRequest(
        preset=values.pop("preset"),
        config_file=values.pop("config"),
        run_dir=None,
        resume=False,
        values=values,
    )
    if training.preset and training.preset not in PRESETS:
        raise unknown("preset", training.preset, PRESETS)
    finalists, seeds = own["confirm"]
    space, config = _space(training, own["space"], own["only"])
    plan = SearchPlan(
        tuner=own["tuner"],
        config=config,
        space=space,
        limits=limits,
        max_trials=own["max_trials"],
        finalists=finalists,
        seeds=seeds,
        stop_weak=own["stop_weak"],
    )
    if not own["list_space"]:
        check_plan(plan)
    out = own["out"] or Path("runs") / f"tuning-{training.preset_name()}-{plan.tuner}"
    return Request(plan, out, own["workers"], own["list_space"])


def _space(training: TrainingRequest, narrowed: str | None, only: str | None) -> tuple[Any, Any]:
    """Return what is left to search, and the settings with all that is fixed."""
    config = training.config()
    space = search_space(config)
    # A setting that the user gives is no longer a question.
    given = [name for setting in training.values for name in FIXED_BY.get(setting, (setting,))]
    space = fix(space, config, {d.name for d in space if d.name in given})
    if narrowed is not None:
        space, config = narrow(space, config, narrowed)
    if only is not None:
        kept = [name.strip() for name in only.split(",")]
        for item in (narrowed or "").split(","):
            name = item.partition("=")[0].strip()
            if name in {dimension.name for dimension in space} - set(kept):
                raise UserError(f"--only must name what --space narrows; received no {name}")
        space = keep_only(space, config, kept)
    return space, config


def check_plan(plan: SearchPlan) -> None:
    """Hold the plan's parts to one another.

    Raises:
        UserError: nothing is left to search, a grid is infinite, or the seeds run out.
    """
    if all(len(dimension.choices) == 1 for dimension in plan.space):
        raise UserError("a search needs a hyperparameter to vary; received none, all are fixed")
    largest = setting("seed").metadata["maximum"]
    if plan.confirmation_seeds[-1] > largest:
        raise UserError(
            f"--confirm needs seeds above --seed and up to {largest}; received --seed "
            f"{plan.config.run.seed} and --confirm {plan.finalists}x{plan.seeds}"
        )
    if plan.tuner != "grid":
        return
    for dimension in plan.space:
        if not dimension.choices:
            raise UserError(
                f"--tuner grid needs choices, as in --space {dimension.name}=A|B|C, or --only "
                f"other hyperparameters; received {dimension.low:g}..{dimension.high:g}"
            )


def _build_parser() -> Parser:
    parser = Parser(
        prog="python -m tuning",
        usage="python -m tuning [PRESET] [--tuner T] [--max-trials N] [--out DIR] [...]",
        description="Search better hyperparameters, scored on the validation split alone. The same "
        "command goes on where it was stopped.",
        epilog="Any setting that is given is fixed; --space and --only narrow the rest.",
    )
    parser.add_argument("preset", nargs="?", metavar="PRESET", help="where to start from")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings as a JSON file")
    for flag, settings in OWN_FLAGS.items():
        parser.add_argument(flag, **settings)
    limits = parser.add_argument_group("limits that a device sets")
    for flag, (kind, text) in LIMIT_FLAGS.items():
        limits.add_argument(flag, type=_at_least(kind, 0), metavar="N", help=text)
    add_settings(parser)
    return parser


def _one_of_tuners(text: str) -> str:
    if text not in TUNERS:
        raise unknown("--tuner", text, TUNERS)
    return text


def _at_least(kind: type, minimum: float) -> Any:
    """Return a parser of numbers that are at least `minimum`; above it where that is 0."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = float("nan")
        if not minimum <= value < float("inf") or value == 0:
            rule = f"at least {minimum:g}" if minimum else "above 0"
            name = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"must be {name}, {rule}; received {text!r}")
        return value

    return parse


def _confirm(text: str) -> tuple[int, int]:
    if not (match := re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)):
        raise argparse.ArgumentTypeError(f"must be CONFIGURATIONSxSEEDS, as in 3x3; received {text!r}")
    return int(match[1]), int(match[2])


OWN_FLAGS: dict[str, dict[str, Any]] = {
    "--tuner": {
        "type": _one_of_tuners,
        "default": "bayesian",
        "metavar": "{" + ",".join(TUNERS) + "}",
        "help": "how configurations are proposed (default: bayesian)",
    },
    "--max-trials": {
        "type": _at_least(int, 1),
        "default": 20,
        "metavar": "N",
        "help": "trials of the search, before the confirmation (default: 20)",
    },
    "--out": {"type": Path, "metavar": "DIR", "help": "where (default: runs/tuning-PRESET-TUNER)"},
    "--space": {
        "metavar": "NAME=VALUES,...",
        "help": "narrow or fix, as in peak_learning_rate=1e-3..1,optimizer=sgd|adamw,width=16",
    },
    "--only": {"metavar": "NAME,...", "help": "search these alone and fix the others"},
    "--list-space": {"action": "store_true", "help": "show what would be searched, and stop"},
    "--confirm": {
        "type": _confirm,
        "default": (3, 3),
        "metavar": "KxS",
        "help": "train the best K again with S seeds each; their mean decides (default: 3x3)",
    },
    "--stop-weak": {
        "action": argparse.BooleanOptionalAction,
        "default": True,
        "help": "end a trial that is below the median of the others (default: yes)",
    },
    "--workers": {
        "type": _at_least(int, 1),
        "default": 1,
        "metavar": "N",
        "help": "trials side by side on this machine (default: 1)",
    },
}
OWN = tuple(flag.removeprefix("--").replace("-", "_") for flag in OWN_FLAGS)

LIMIT_FLAGS: dict[str, tuple[type, str]] = {
    "--max-parameters": (int, "weights of the network"),
    "--max-mac": (int, "multiply-adds of one image"),
    "--max-bytes-int8": (int, "size of the exported int8 file, bytes"),
    "--max-latency-ms": (float, "median time of the int8 file on one thread of this machine"),
}
