"""How much each hyperparameter explains of the scores."""

from collections.abc import Sequence

import numpy as np
from sklearn.ensemble import BaggingRegressor
from sklearn.inspection import permutation_importance
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeRegressor

from tuning.space.search_space import Space
from tuning.trials.results import FAILED, SEARCH, TrialResult

LEAST_TRIALS = 8


def importance(space: Space, results: Sequence[TrialResult], trees: int = 100) -> dict[str, float]:
    """Return each hyperparameter's share of what a random forest can explain of the scores.

    Permutation importance: by how much the squared error of a tree grows, on the trials that it
    was not grown on, when one hyperparameter is permuted among them (Breiman 2001, "Random
    forests", section 10). The choices of an unordered hyperparameter are permuted together.

    Args:
        space: the hyperparameters.
        results: of which the search trials with a score count, stopped ones among them.
        trees: of the forest.

    Returns:
        Name -> share in [0, 1], of sum 1; the same for the same trials in any order. Empty for
        fewer than 8 trials and where nothing explains the scores, because that says nothing.
    """
    scored = [r for r in results if r.purpose == SEARCH and r.status != FAILED]
    if len(scored) < LEAST_TRIALS:
        return {}
    scored.sort(key=lambda result: result.trial)
    positions = _positions(space, scored)
    scores = np.array([result.score for result in scored])
    growth = np.maximum(_error_growth(space, positions, scores, trees), 0)
    if not growth.any():
        return {}
    names = [dimension.name for dimension in space]
    return dict(zip(names, (growth / growth.sum()).tolist(), strict=True))


def _positions(space: Space, results: Sequence[TrialResult]) -> np.ndarray:
    """Place trials in the unit cube, [trials, dimensions]; NaN where one does not matter."""
    return np.array(
        [[d.position_of(r.values[d.name]) if d.name in r.values else np.nan for d in space] for r in results]
    )


def _features(positions: np.ndarray, space: Space) -> np.ndarray:
    """Give ordered dimensions a column and unordered ones a column a choice.

    One that does not matter is neutral: in the middle, or none of its choices.
    """
    columns = []
    for dimension, column in zip(space, positions.T, strict=True):
        if dimension.is_ordered:
            columns.append(np.nan_to_num(column, nan=0.5))
        else:
            columns += [column == dimension.position_of(c) for c in dimension.choices]
    return np.stack(columns, axis=1).astype(float)


def _error_growth(space: Space, positions: np.ndarray, scores: np.ndarray, trees: int) -> np.ndarray:
    """Sum over the trees how permuting each dimension changes the squared error, [dimensions]."""
    # Trees on a third of the features a split, the usual random forest for regression; bagged
    # here because sklearn's own forest does not let the encoding be a part of the tree.
    tree = make_pipeline(
        FunctionTransformer(_features, kw_args={"space": space}), DecisionTreeRegressor(max_features=1 / 3)
    )
    forest = BaggingRegressor(tree, n_estimators=trees, random_state=0).fit(positions, scores)
    growth = np.zeros(len(space))
    for number, (grown, own) in enumerate(zip(forest.estimators_, forest.estimators_samples_, strict=True)):
        others = np.setdiff1d(np.arange(len(scores)), own)
        if len(others) > 1:
            growth += permutation_importance(
                grown,
                positions[others],
                scores[others],
                n_repeats=1,
                random_state=number,
                scoring="neg_mean_squared_error",
            ).importances_mean
    return growth
