"""The search from beginning to end: data, limits, trials, confirmation, what is left behind."""

import contextlib
import dataclasses
import itertools
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence

from pipeline.console.run_command import DONE, FAILED
from pipeline.data.class_names import list_classes
from pipeline.data.exclusions import describe_excluded
from pipeline.data.image_size import size_and_classes
from pipeline.data.splits import describe_splits
from pipeline.environment import available_cores
from pipeline.errors import UserError
from pipeline.files.whole import write_text
from pipeline.training.resolve import Ground, prepare_ground, resolve, verify_start
from tuning.cost import Costs
from tuning.hypermodel import ClassifierHyperModel
from tuning.oracles.curve_model import rungs
from tuning.oracles.oracles import ORACLES, combinations, count_random_starts
from tuning.oracles.search_oracle import SearchOracle
from tuning.plan import MAX_TRIALS, SearchPlan
from tuning.report.live_table import LiveTable
from tuning.report.report import describe_saving, write_report
from tuning.request import Request
from tuning.search_directory import SearchDirectory
from tuning.space.limits import Limits
from tuning.space.search_space import Dimension, Value, Values, apply, nearest_values, own_values, settle
from tuning.trials.confirmation import Confirmed, best_config, confirm, describe_confirmed, verdict
from tuning.trials.results import SEARCH, TrialResult, load_result, load_results
from tuning.trials.spending import describe_taken
from tuning.trials.trial import Report
from tuning.tuner import SearchTuner


def run_search(request: Request, role: str) -> int:
    """Search, or help a search as one of its workers; return the exit code.

    Args:
        request: what to search.
        role: `alone`, `chief` or `worker`.

    Raises:
        UserError: the data, the directory or a limit is wrong.
    """
    plan, directory = request.plan, SearchDirectory(request.out)
    if role == "worker":
        if directory.search.exists():
            directory.check_identity(plan.identity())
        plan = begin_with_a_size(plan)
        ground = prepare_search(plan, directory, begin=False)
        build_tuner(plan, directory, ground, open_costs(plan, directory, ground)).search()
        return DONE
    with directory.open(plan.identity()):
        plan = begin_with_a_size(plan)
        ground = prepare_search(plan, directory)
        costs = open_costs(plan, directory, ground)
        verify_sizes(plan, costs)
        plan = within_limits(plan, costs)
        print_plan(plan, ground, load_results(directory.trials))
        if role == "chief":
            directory.logs.mkdir(exist_ok=True)
        oracle, results = run_trials(plan, directory, ground, costs)
        if oracle.is_too_short():
            raise UserError(
                "a budget must be enough for two trials and their confirmation; the first took "
                f"{describe_taken(plan.budget, results, oracle.seconds())}; with more the search goes on"
            )
        if not any_success(plan, results, ended_early=bool(oracle.why_ended)):
            return FAILED
        if oracle.why_ended:
            print("the search ended early:", oracle.why_ended)
        # Of the confirmation, what the budget had room for.
        plan = oracle.final or plan
        confirmed = confirm(plan, results)
        if confirmed:
            # Before all that is only there to be looked at.
            write_text(directory.best_config, best_config(plan, confirmed[0].values).to_json())
        front = write_report(plan, directory, costs, results, confirmed)
        if front:
            print(f"what none beats at its size or latency, as files in {directory.front}:")
            print(*front, sep="\n")
        print(describe_saving(plan, results))
        code = print_verdict(confirmed, directory)
        if plan.budget.is_set:
            print("taken:", describe_taken(plan.budget, results, oracle.seconds()))
        return code


def searched_sizes(plan: SearchPlan) -> tuple[int, ...]:
    """Return the sizes of the images that are searched, pixels; none where it is one that is given."""
    return tuple(int(size) for d in plan.space if d.name == "image_size" for size in d.choices)


def begin_with_a_size(plan: SearchPlan) -> SearchPlan:
    """Let a search over sizes of the images begin with the nearest to the settings', or to the source's own.

    Where the source has none, for its images are of many sizes, it is the smallest.

    Raises:
        UserError: the source's own is larger than any network's input.
    """
    sizes = searched_sizes(plan)
    if not sizes:
        return plan
    own = plan.config.data.image_size
    if not own:
        # Whatever else may be wrong with the data is told by what loads it.
        with contextlib.suppress(UserError):
            own, _ = size_and_classes(plan.config.data)
    start = min(sizes, key=lambda size: abs(size - own))
    return dataclasses.replace(plan, config=plan.config.with_values({"image_size": start}))


def prepare_search(plan: SearchPlan, directory: SearchDirectory, *, begin: bool = True) -> Ground:
    """Find the devices and the data, and hold them to what the search began with.

    Args:
        plan: of the search.
        directory: of the search.
        begin: write down what it begins with, where it does not say so yet. A worker does not: it
            may be there before its chief, or write the same file in the same moment.

    Raises:
        UserError: the data is missing or another, or the settings or weights to start from do not fit
            it at each size that is searched.
    """
    ground = prepare_ground(plan.config)
    for size in searched_sizes(plan) or (plan.config.data.image_size,):
        verify_start(resolve(plan.config.with_values({"image_size": size}), ground))
    if begin or directory.splits.exists():
        directory.check_images(describe_splits(ground.data.source, ground.data.splits))
    return ground


def verify_sizes(plan: SearchPlan, costs: Costs) -> None:
    """Hold each size of the images that is searched to the networks of the space.

    One that some of them do not take stays: such a pair is never tried.

    Raises:
        UserError: no network takes images of that size.
    """
    names, networks = list_networks(plan)
    unlimited = dataclasses.replace(plan, limits=Limits())
    for size in searched_sizes(plan):
        alike = [network for network in networks if network[names.index("image_size")] == size]
        reasons = (
            _broken_limit(values, unlimited, costs)
            for network in alike
            for values in _designs(plan, dict(zip(names, network, strict=True)))
        )
        first = next(reasons)
        if first and all(reasons):
            raise UserError(f"--space image_size must hold what a network of the space takes; {first}")


def within_limits(plan: SearchPlan, costs: Costs) -> SearchPlan:
    """Leave the models, widths and image sizes out of the space with which every network breaks a limit.

    What the search begins with becomes the nearest that keeps them: of the own model, where one does.

    Raises:
        UserError: all do; the first limit that the first of the smallest breaks is named.
    """
    if not plan.limits.is_set:
        return plan
    names, networks = list_networks(plan)
    if plan.limits.need_file:
        _measure_networks(plan, [dict(zip(names, network, strict=True)) for network in networks], costs)
    broken: dict[tuple[Value, ...], list[str | None]] = {}
    for network in networks:
        broken[network] = []
        for values in _designs(plan, dict(zip(names, network, strict=True))):
            broken[network].append(_broken_limit(values, plan, costs))
            if broken[network][-1] is None:
                break
    kept = [network for network in networks if broken[network][-1] is None]
    if not kept:
        raise UserError(
            f"a network of the space must keep the limits; the smallest, "
            f"{', '.join(f'{name} {value}' for name, value in zip(names, networks[0], strict=True))}, "
            f"has {broken[networks[0]][0]}"
        )
    narrowed = dataclasses.replace(plan, space=tuple(_only(kept, names, d) for d in plan.space))
    starts = [dict(zip(names, network, strict=True)) for network in kept if broken[network][0] is None]
    return _begin_with_nearest(narrowed, starts)


def _measure_networks(plan: SearchPlan, networks: Sequence[Values], costs: Costs) -> None:
    """Measure all networks that keep the limits as far as these can be counted, before anything trains."""
    limits = Limits(max_parameters=plan.limits.max_parameters, max_mac=plan.limits.max_mac)
    counted = dataclasses.replace(plan, limits=limits)
    designs = [values for network in networks for values in _designs(plan, network)]
    kept = [values for values in designs if _broken_limit(values, counted, costs) is None]
    costs.measure_all([apply(values, plan.config) for values in kept], available_cores())


def _designs(plan: SearchPlan, network: Values) -> Iterator[Values]:
    """Yield a model of one width and image size with each stem and shortcut searched, the start's first."""
    own = own_values(plan.config)
    nearest = {dimension.name: dimension.nearest(own[dimension.name]) for dimension in plan.space}
    beside = [dimension for dimension in plan.space if dimension.name in ("stem", "shortcut")]
    choices = [sorted(d.choices, key=lambda choice: choice != nearest[d.name]) for d in beside]
    for design in itertools.product(*choices):
        names = (dimension.name for dimension in beside)
        yield settle(plan.space, nearest | network | dict(zip(names, design, strict=True)))


def _broken_limit(values: Values, plan: SearchPlan, costs: Costs) -> str | None:
    """Tell the first limit that the network of a configuration breaks."""
    try:
        return costs.exceeded(apply(values, plan.config), plan.limits)
    except UserError as error:
        return str(error)


def _begin_with_nearest(plan: SearchPlan, networks: Sequence[Values]) -> SearchPlan:
    """Let the settings that the search begins with have the nearest of some networks."""
    searched = {dimension.name for dimension in plan.space}
    settings = own_values(plan.config)
    own = settings | nearest_values(plan.space, plan.config)
    starts = [{name: value for name, value in network.items() if name in searched} for network in networks]
    if not starts:
        return plan
    start = min(
        starts,
        key=lambda s: (
            s.get("model", own["model"]) != own["model"],
            sum(
                abs(float(s[name]) / float(settings[name]) - 1)
                for name in ("width", "image_size")
                if name in s
            ),
        ),
    )
    return dataclasses.replace(plan, config=plan.config.with_values(start))


def list_networks(plan: SearchPlan) -> tuple[list[str], list[tuple[Value, ...]]]:
    """List the networks of the space by width and, where they are searched, by image size and model.

    Returns:
        What they differ in, and each of them, the narrowest first.
    """
    settings = plan.config.values()
    own: dict[str, Value] = {name: settings[name] for name in ("width", "image_size", "model")}
    searched: dict[str, Dimension] = {dimension.name: dimension for dimension in plan.space}
    names = [name for name in own if name == "width" or name in searched]
    choices: list[tuple[Value, ...]] = [
        searched[name].choices if name in searched else (own[name],) for name in names
    ]
    return names, list(itertools.product(*choices))


def _only(kept: Sequence[tuple[Value, ...]], names: Sequence[str], dimension: Dimension) -> Dimension:
    """Leave to a dimension of the network the choices that are kept."""
    if dimension.name not in names:
        return dimension
    left = {network[names.index(dimension.name)] for network in kept}
    return dataclasses.replace(dimension, choices=tuple(c for c in dimension.choices if c in left))


def open_costs(plan: SearchPlan, directory: SearchDirectory, ground: Ground) -> Costs:
    """Open what is known of the costs of architectures."""
    return Costs(directory.costs, ground, with_arena=plan.limits.max_arena_kib is not None)


def print_plan(plan: SearchPlan, ground: Ground, known: Sequence[TrialResult]) -> None:
    """Print what is searched, on what, how, and how many trials have ended before."""
    sizes, excluded = vars(ground.data.splits), ground.data.excluded
    rows = {
        "data": f"{ground.data.source.name}, train {len(sizes['train']):,}, validation "
        f"{len(sizes['validation']):,}; test is not looked at",
        "classes": list_classes(ground.data.source.class_names, ground.data.labels),
        **({"excluded": describe_excluded(excluded, ground.data.source)} if excluded else {}),
        **({"teacher": ground.teacher.name} if ground.teacher else {}),
        "trials": f"{plan.max_trials} of {plan.config.total_epochs} epochs, {plan.tuner}",
        "confirm": f"the best {plan.finalists} and the start, {plan.seeds} times each, with other seeds",
        "space": f"{len(plan.space)} hyperparameters, listed by --list-space",
    }
    if plan.freezes:
        epochs, steps = plan.config.total_epochs, ", ".join(map(str, rungs(plan.config.total_epochs)))
        rows["trials"] = (
            f"{plan.max_trials * epochs:,} epochs, as {plan.max_trials} whole ones have, freeze_thaw: "
            f"frozen and thawed after {steps}"
        )
    if plan.budget.is_set:
        rows["budget"] = f"{plan.budget}, the confirmation included"
        if plan.max_trials == MAX_TRIALS:
            rows["trials"] = f"as many as fit, {plan.tuner}"
    if plan.tuner == "bayesian":
        starts = count_random_starts(plan)
        rows["trials"] += f": the start, {starts - 1} spread at random, then by the process"
    if plan.tuner == "grid":
        rows["trials"] += f" of {sum(1 for _ in combinations(plan)):,} combinations"
    if known:
        rows["known"] = f"{len(known)} trials that ended before"
    for name, text in rows.items():
        print(f"{name:>8}  {text}")
    sys.stdout.flush()


def run_trials(
    plan: SearchPlan, directory: SearchDirectory, ground: Ground, costs: Costs
) -> tuple[SearchOracle, list[TrialResult]]:
    """Run the trials of search and confirmation, here or through workers.

    Returns:
        What proposed them, and all results.
    """

    def ended(trial: str) -> None:
        table.ended(load_result(directory.result(trial)))

    def seconds() -> float:
        return tuner.oracle.seconds()

    with contextlib.closing(LiveTable(plan, load_results(directory.trials), seconds)) as table:
        tuner = build_tuner(plan, directory, ground, costs, table.epoch, ended)
        tuner.search()
    return tuner.oracle, load_results(directory.trials)


def build_tuner(
    plan: SearchPlan,
    directory: SearchDirectory,
    ground: Ground,
    costs: Costs,
    report: Report = lambda trial, accuracies: None,
    ended: Callable[[str], None] = lambda trial: None,
) -> SearchTuner:
    """Set up KerasTuner, at the state that a former process left.

    Args:
        plan: of the search.
        directory: of the search.
        ground: the data and devices of all trials.
        costs: what architectures cost.
        report: called after each epoch of a trial.
        ended: called with the name of each trial that has ended.
    """
    known: dict[str, bool] = {}

    def allowed(values: Values) -> bool:
        key = json.dumps(values, sort_keys=True)
        if key not in known:
            known[key] = is_allowed(values, plan, ground, costs)
        return known[key]

    oracle = ORACLES[plan.tuner](plan, allowed, lambda: load_results(directory.trials), ended)
    return SearchTuner(oracle, ClassifierHyperModel(plan, ground, directory, report), directory.state)


def is_allowed(values: Values, plan: SearchPlan, ground: Ground, costs: Costs) -> bool:
    """Whether a configuration fits the data and the devices and keeps the limits."""
    try:
        config = apply(values, plan.config)
        resolve(config, ground)
        return not costs.exceeded(config, plan.limits)
    except UserError:
        return False


def any_success(plan: SearchPlan, results: Sequence[TrialResult], *, ended_early: bool) -> bool:
    """Whether a trial of the search succeeded; say where not, and where trials are missing.

    Args:
        plan: of the search.
        results: of all trials.
        ended_early: whether trials are missing because the search was to end.

    Raises:
        UserError: no configuration was allowed.
    """
    searched = [result for result in results if result.purpose == SEARCH]
    if not searched:
        raise UserError("a configuration of the space must fit the data; none does")
    if len(searched) < plan.max_trials and not plan.freezes and not ended_early:
        print(f"{len(searched)} of {plan.max_trials} trials: nothing else is allowed")
    if any(result.score is not None for result in searched):
        return True
    print("no trial succeeded; the last one:", searched[-1].reason)
    return False


def print_verdict(confirmed: Sequence[Confirmed], directory: SearchDirectory) -> int:
    """Print what came out and how to go on with it; return the exit code."""
    if not confirmed:
        print("no configuration succeeded with every seed")
        return FAILED
    path = directory.best_config
    print("trained again, accuracy on validation, mean ± standard deviation:")
    print(*describe_confirmed(confirmed), verdict(confirmed), sep="\n")
    print(f"everything lies in {directory.path}: {path.name}, trials.csv, plots/")
    print("next:")
    print(f"  python train.py --config {shlex.quote(str(path))}")
    return DONE
