"""What a search leaves: the table of trials, charts, TensorBoard's HParams."""

from collections.abc import Sequence

from pipeline.environment import available_cores
from pipeline.files.whole import write_figure
from tuning.cost import Cost, Costs
from tuning.plan import SearchPlan
from tuning.report.front import describe_front, list_front, write_front
from tuning.report.hparams import write_hparams
from tuning.report.hyperparameter_plots import plot_hyperparameters, plot_parallel
from tuning.report.importance import importance
from tuning.report.pareto import plot_pareto
from tuning.report.plots import plot_confirmation, plot_curves, plot_importance, plot_progress
from tuning.report.trials_table import write_trials
from tuning.search_directory import SearchDirectory
from tuning.space.search_space import apply
from tuning.trials.confirmation import Confirmed
from tuning.trials.results import COMPLETED, FAILED, SEARCH, TrialResult


def write_report(
    plan: SearchPlan,
    directory: SearchDirectory,
    costs: Costs,
    results: Sequence[TrialResult],
    confirmed: Sequence[Confirmed],
) -> list[str]:
    """Write trials.csv, the Pareto front, the plots and TensorBoard's HParams.

    Returns:
        Lines about the front; none where all of it is one network.

    Raises:
        UserError: a file cannot be written.
    """
    configs = {result.trial: apply(result.values, plan.config) for result in results}
    costs.measure_all(configs.values(), available_cores())
    by_trial: dict[str, Cost] = {trial: costs.of(config) for trial, config in configs.items()}
    searched = [result for result in results if result.purpose == SEARCH]
    write_trials(directory.table, results, by_trial, plan.space)
    write_hparams(results, directory.tensorboard, plan.space)
    figures = {
        "progress": plot_progress(searched),
        "learning_curves": plot_curves(searched),
        "hyperparameters": plot_hyperparameters(plan.space, searched),
        "parallel_coordinates": plot_parallel(plan.space, searched),
        "importance": plot_importance(importance(plan.space, searched)),
        "pareto": plot_pareto(searched, by_trial),
        "confirmation": plot_confirmation(
            {one.name: one.accuracies for one in confirmed},
            reference=next((one.name for one in confirmed if one.is_start), ""),
        ),
    }
    for name, figure in figures.items():
        write_figure(directory.plots / f"{name}.png", figure)
    front = list_front(searched, by_trial)
    write_front(plan, directory, front)
    if len({(by_trial[trial.trial].int8_bytes, by_trial[trial.trial].latency_ms) for trial in front}) < 2:
        return []
    return describe_front(plan, front, by_trial, front[0].measured[2])


def describe_saving(plan: SearchPlan, results: Sequence[TrialResult]) -> str:
    """Say how many epochs were not trained, for their configurations were weak."""
    searched = [r for r in results if r.purpose == SEARCH and r.status != FAILED]
    # Hyperband goes on with a configuration in a trial of its own.
    tried = {tuple(result.values.items()) for result in searched}
    whole = {tuple(result.values.items()) for result in searched if result.status == COMPLETED}
    planned = len(tried) * plan.config.total_epochs
    saved = planned - sum(result.epochs for result in searched)
    return (
        f"{len(tried - whole)} of {len(tried)} configurations did not train to the end, which "
        f"saved {saved:,} of {planned:,} epochs ({saved / planned:.0%})"
    )
