"""The search from beginning to end: data, limits, trials, confirmation, what is left behind."""

import contextlib
import dataclasses
import io
import json
import shlex
import sys
from collections.abc import Callable

from pipeline.data.splits import describe_splits
from pipeline.errors import UserError
from pipeline.files import write_whole
from pipeline.training.resolve import Ground, prepare_ground, resolve, verify_start
from tuning.cost import Costs
from tuning.hypermodel import ClassifierHyperModel
from tuning.oracles.oracles import ORACLES, combinations, count_random_starts
from tuning.plan import SearchPlan
from tuning.report.live_table import LiveTable
from tuning.report.report import describe_saving, write_report
from tuning.request import Request
from tuning.search_directory import SearchDirectory
from tuning.space.search_space import Values, apply, nearest_values
from tuning.trials.confirmation import best_config, confirm, describe_confirmed, verdict
from tuning.trials.results import FAILED, SEARCH, load_result
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
    directory = SearchDirectory(request.out)
    if role == "worker":
        if directory.search.exists():
            directory.check_identity(request.plan.identity())
        search = Search(request.plan, directory)
        search.tuner(lambda trial, accuracies: None, lambda trial: None).search()
        return 0
    with directory.open(request.plan.identity()):
        search = Search(request.plan, directory)
        search.keep_limits()
        search.announce()
        if role == "chief":
            directory.logs.mkdir(exist_ok=True)
        search.run()
        return search.finish()


class Search:
    """One search.

    Attributes:
        plan: what is searched.
        directory: where.
        ground: the data and devices of all trials.
        costs: what architectures cost.
    """

    def __init__(self, plan: SearchPlan, directory: SearchDirectory) -> None:
        self.plan, self.directory = plan, directory
        self.ground: Ground = prepare_ground(plan.config)
        verify_start(resolve(plan.config, self.ground))
        # A worker may be there before its chief, who begins the search.
        if directory.search.exists():
            data = self.ground.data
            directory.check_images(describe_splits(data.source, data.splits))
        self.costs = Costs(directory.costs, self.ground)
        self._allowed: dict[str, bool] = {}

    def keep_limits(self) -> None:
        """Leave the widths that break a limit out of the space.

        Raises:
            UserError: all do; the first limit that the smallest breaks is named.
        """
        if not self.plan.limits.is_set:
            return
        values = nearest_values(self.plan.space, self.plan.config)
        searched = next((d for d in self.plan.space if d.name == "width"), None)
        widths = searched.choices if searched else (self.plan.config.model.width,)
        broken = {width: self.broken_limit({**values, "width": width}) for width in widths}
        kept = tuple(width for width in widths if not broken[width])
        if not kept:
            raise UserError(
                f"a network of the space must keep the limits; the smallest, width {widths[0]}, "
                f"has {broken[widths[0]]}"
            )
        space = (dataclasses.replace(d, choices=kept) if d is searched else d for d in self.plan.space)
        self.plan = dataclasses.replace(self.plan, space=tuple(space))

    def broken_limit(self, values: Values) -> str | None:
        """Name the first limit that a configuration breaks."""
        # Of its model alone: whether the rest fits the data is another question.
        model = apply(values, self.plan.config).model
        config = dataclasses.replace(self.plan.config, model=model)
        return self.costs.exceeded(config, self.plan.limits)

    def allowed(self, values: Values) -> bool:
        """Whether a configuration fits the data and the devices and keeps the limits."""
        key = json.dumps(values, sort_keys=True)
        if key not in self._allowed:
            try:
                resolve(apply(values, self.plan.config), self.ground)
                self._allowed[key] = not self.broken_limit(values)
            except UserError:
                self._allowed[key] = False
        return self._allowed[key]

    def tuner(self, report: Report, ended: Callable[[str], None]) -> SearchTuner:
        """Set up KerasTuner, at the state that a former process left."""
        oracle = ORACLES[self.plan.tuner](self.plan, self.allowed, self.directory.results, ended)
        hypermodel = ClassifierHyperModel(self.plan.config, self.ground)
        # It says where it reloads its state from.
        with contextlib.redirect_stdout(io.StringIO()):
            return SearchTuner(oracle, hypermodel, self.directory, report)

    def announce(self) -> None:
        """Print what is searched, on what, how."""
        plan, known = self.plan, self.directory.results()
        sizes = vars(self.ground.data.splits)
        rows = {
            "data": f"{self.ground.data.source.name}, train {len(sizes['train']):,}, validation "
            f"{len(sizes['validation']):,}; test is not looked at",
            "trials": f"{plan.max_trials} of {plan.config.total_epochs} epochs, {plan.tuner}",
            "confirm": f"the best {plan.finalists} and the start, {plan.seeds} times each, with other seeds",
            "space": f"{len(plan.space)} hyperparameters, listed by --list-space",
        }
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

    def run(self) -> None:
        """Run the trials, here or through workers."""
        table = LiveTable(self.plan, self.directory.results())
        with contextlib.closing(table):
            self.tuner(
                table.epoch, lambda trial: table.ended(load_result(self.directory.result(trial)))
            ).search()

    def finish(self) -> int:
        """Write what a search leaves and print what came out; return the exit code."""
        results = self.directory.results()
        searched = [result for result in results if result.purpose == SEARCH]
        if not searched:
            raise UserError("a configuration of the space must fit the data; none does")
        if len(searched) < self.plan.max_trials:
            print(f"{len(searched)} of {self.plan.max_trials} trials: nothing else is allowed")
        if all(result.status == FAILED for result in searched):
            print("no trial succeeded; the last one:", searched[-1].reason)
            return 1
        confirmed = confirm(self.plan, results)
        path = self.directory.best_config
        if confirmed:
            # Before all that is only there to be looked at.
            config = best_config(self.plan, confirmed[0].values)
            write_whole(path, lambda aside: aside.write_text(config.to_json()))
        write_report(self.plan, self.directory, self.costs, results, confirmed)
        print(describe_saving(self.plan, results))
        if not confirmed:
            print("no configuration succeeded with every seed")
            return 1
        print("trained again, accuracy on validation, mean ± standard deviation:")
        print(*describe_confirmed(confirmed), verdict(confirmed), sep="\n")
        print(f"everything lies in {self.directory.path}: {path.name}, trials.csv, plots/")
        print("next:")
        print(f"  python train.py --config {shlex.quote(str(path))}")
        return 0
