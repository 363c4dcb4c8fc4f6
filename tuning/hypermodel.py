"""KerasTuner's seam: how a network of the search is built, and how a trial of it trains."""

import keras
import keras_tuner

from pipeline.training.networks import build_deployed_network
from pipeline.training.resolve import Ground, resolve_network
from tuning.plan import SearchPlan
from tuning.search_directory import SearchDirectory
from tuning.space.search_space import apply
from tuning.trials.results import FAILED
from tuning.trials.trial import Report, train_trial


class ClassifierHyperModel(keras_tuner.HyperModel):
    """Builds and trains the networks of a search as `train.py` does.

    Args:
        plan: of the search.
        ground: the data and devices of all trials.
        directory: of the search.
        report: called after each epoch.
    """

    def __init__(self, plan: SearchPlan, ground: Ground, directory: SearchDirectory, report: Report) -> None:
        super().__init__()
        self.plan, self.ground, self.directory, self.report = plan, ground, directory, report

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Build the network of `hp` as it is deployed, also where its batch does not fit the data.

        KerasTuner builds once to see the space, and what does not fit is only passed over later.
        """
        config = apply(hp.values, self.plan.config)
        ground = self.ground.at(config.data.image_size)
        config = resolve_network(config, ground.data)
        return build_deployed_network(config, len(ground.data.source.class_names), ground.statistics)

    def fit(self, hp: keras_tuner.HyperParameters, model: None, name: str) -> float:
        """Train a trial, an ordinary run, from its newest checkpoint on; return its score.

        Args:
            hp: the hyperparameters, and KerasTuner's own entries.
            model: None. A run builds its network itself, because it must count the attempt before,
                give every variable its name in the checkpoint and its seed, and choose the layers
                that train fastest; one from `build` would be built only to be thrown away.
            name: of the trial.

        Raises:
            FailedTrialError: something is wrong with this trial alone.
            Interrupted: a signal asked to stop; the state is saved.
            UserError: the run cannot be written, or its images are gone.
        """
        result = train_trial(name, hp.values, self.plan, self.directory, self.ground, self.report)
        if result.status == FAILED:
            raise keras_tuner.errors.FailedTrialError(result.reason)
        assert result.score is not None
        return result.score
