"""From the command line of `python -m tuning` to what is to be searched."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.config import Config
from pipeline.config.option import Section, option
from pipeline.console.command_line import Parser, add_settings, take
from pipeline.console.training_request import ChosenSettings, add_chosen_settings, read_chosen_settings
from pipeline.errors import UserError, received
from tuning.plan import MAX_TRIALS, TRIALS, TUNERS, SearchPlan
from tuning.space.budget import Budget
from tuning.space.limits import Limits
from tuning.space.narrowing import NETWORK, fix, keep_only, narrow
from tuning.space.search_space import STRENGTHS, Space, network_space, search_space, setting

FIXED_BY = {
    "peak_learning_rate": ("peak_learning_rate", "adaptive_learning_rate"),
    "mixup": ("mixing", "mixing_alpha"),
    "cutmix": ("mixing", "mixing_alpha"),
    **{strength: ("augment_strength",) for strength in STRENGTHS},
}
"""Settings that fix hyperparameters of other names."""

LEAST_TRAININGS = 4
"""Two trials, and the better one and the start once more."""


@dataclass(frozen=True)
class Options(Section):
    """What a search is told beside the settings that it starts from."""

    tuner: str = option("bayesian", "how configurations are proposed", choices=TUNERS)
    max_trials: int | None = option(
        None,
        f"trials of the search, before the confirmation (default: {TRIALS}; with a budget, as many as fit)",
        minimum=1,
        maximum=MAX_TRIALS,
        metavar="N",
    )
    out: Path | None = option(None, "where (default: runs/tuning-PRESET-TUNER)", metavar="DIR")
    space: str | None = option(
        None,
        "narrow or fix, as in peak_learning_rate=1e-3..1,optimizer=sgd|adamw,width=16",
        metavar="NAME=VALUES,...",
    )
    only: tuple[str, ...] | None = option(None, "search these alone and fix the others", metavar="NAME,...")
    list_space: bool = option(False, "show what would be searched, and stop", switch=True)
    confirm: str = option(
        "3x3", "train the best K again with S seeds each; their mean decides", metavar="KxS"
    )
    stop_weak: bool = option(True, "end a trial that is below the median of the others")
    stop_when_flat: bool = option(
        False, "end the search where too little is expected of another trial", switch=True
    )
    workers: int = option(1, "trials side by side on this machine", minimum=1, maximum=256, metavar="N")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch("[1-9][0-9]{0,2}x[1-9][0-9]{0,2}", self.confirm):
            raise UserError(
                "--confirm must be CONFIGURATIONSxSEEDS, as in 3x3, each up to 999; "
                f"received {received(self.confirm)}"
            )


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
    values = _build_parser().parse(list(arguments))
    limits, budget = Limits(**take(values, Limits)), Budget(**take(values, Budget))
    chosen = read_chosen_settings(values)
    asked = Options(**take(values, Options))
    space, config = _space(chosen, asked)
    finalists, seeds = (int(number) for number in asked.confirm.split("x"))
    plan = SearchPlan(
        tuner=asked.tuner,
        config=config,
        space=space,
        limits=limits,
        max_trials=asked.max_trials or (MAX_TRIALS if budget.is_set else TRIALS),
        finalists=finalists,
        seeds=seeds,
        stop_weak=asked.stop_weak,
        budget=budget,
        stop_when_flat=asked.stop_when_flat,
    )
    if not asked.list_space:
        check_plan(plan)
    out = asked.out or Path("runs") / f"tuning-{chosen.preset_name()}-{plan.tuner}"
    return Request(plan, out, asked.workers, asked.list_space)


def _space(chosen: ChosenSettings, asked: Options) -> tuple[Space, Config]:
    """Return what is left to search, and the settings with all that is fixed."""
    config = chosen.build_config()
    space = (*network_space(config), *search_space(config))
    # A setting that the user gives is no longer a question.
    given = [name for setting in chosen.values for name in FIXED_BY.get(setting, (setting,))]
    space = fix(space, config, {d.name for d in space if d.name in given})
    if asked.space is None:
        space = tuple(dimension for dimension in space if dimension.name not in NETWORK)
    else:
        space, config = narrow(space, config, asked.space)
    if asked.only is not None:
        for item in (asked.space or "").split(","):
            name = item.partition("=")[0].strip()
            if name in {dimension.name for dimension in space} - set(asked.only):
                raise UserError(f"--only must name what --space narrows; received no {name}")
        space = keep_only(space, config, asked.only)
    return space, config


def check_plan(plan: SearchPlan) -> None:
    """Hold the plan's parts to one another.

    Raises:
        UserError: nothing is left to search, a grid is infinite, the seeds run out, the budget is too
            small, or the tuner expects no gain.
    """
    if all(len(dimension.choices) == 1 for dimension in plan.space):
        raise UserError("a search needs a hyperparameter to vary; received none, all are fixed")
    largest = setting("seed").metadata["maximum"]
    if plan.confirmation_seeds[-1] > largest:
        raise UserError(
            f"--confirm needs seeds above --seed and up to {largest}; received --seed "
            f"{plan.config.run.seed} and --confirm {plan.finalists}x{plan.seeds}"
        )
    if plan.stop_when_flat and plan.tuner != "bayesian":
        raise UserError(
            f"--stop-when-flat needs --tuner bayesian, which expects a gain; received {plan.tuner}"
        )
    total, least = plan.budget.max_epochs_total, LEAST_TRAININGS * plan.config.total_epochs
    if total is not None and total < least:
        raise UserError(
            f"--max-epochs-total must be enough for two trials and their confirmation, {least} epochs; "
            f"received {total}"
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
        usage="python -m tuning [PRESET | FOLDER] [--tuner T] [--max-trials N] [--out DIR] [...]",
        description="Search better hyperparameters, scored on the validation split alone. The same "
        "command goes on where it was stopped.",
        epilog="Any setting that is given is fixed; --space and --only narrow the rest.",
    )
    add_settings(parser, Options)
    add_settings(parser.add_argument_group("what search and confirmation may take together"), Budget)
    add_settings(parser.add_argument_group("limits that a device sets"), Limits)
    add_chosen_settings(parser)
    return parser
