"""KerasTuner's tuner: asks the oracle for trials, here or over the network, and trains them."""

import time

import keras_tuner
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial as OracleTrial

from pipeline.training.checkpoint import Interrupted
from tuning.hypermodel import ClassifierHyperModel
from tuning.oracles.search_oracle import OBJECTIVE, SearchOracle
from tuning.search_directory import SearchDirectory
from tuning.trials.results import FAILED
from tuning.trials.trial import Report, Trial

PAUSE_SECONDS = 0.1
"""Before each question to the oracle, which may have nothing to do just now."""


class SearchTuner(BaseTuner):
    """Trains what the oracle proposes; as chief or worker where KerasTuner's variables say so.

    Args:
        oracle: what proposes.
        hypermodel: what builds.
        directory: of the search.
        report: called after each epoch.
    """

    def __init__(
        self,
        oracle: SearchOracle,
        hypermodel: ClassifierHyperModel,
        directory: SearchDirectory,
        report: Report,
    ) -> None:
        self.plan, self.search_directory, self.report = oracle.plan, directory, report
        state = directory.state
        super().__init__(oracle, hypermodel, directory=str(state.parent), project_name=state.name)

    def search(self) -> None:
        """Search to the end.

        Raises:
            KeyboardInterrupt: a signal asked to stop; everything is saved.
            UserError: the disk is full, or images are gone.
        """
        try:
            super().search()
        except keras_tuner.errors.FatalError as error:
            raise error.__cause__ or error from None

    def run_trial(self, trial: OracleTrial) -> dict[str, float]:
        """Train a trial; what is wrong with it alone fails it, anything else ends the search."""
        values = trial.hyperparameters.values
        try:
            own = Trial(trial.trial_id, values, self.plan, self.search_directory)
            result = own.train(self.hypermodel.ground, self.report)
        except Interrupted:
            raise KeyboardInterrupt from None
        except Exception as error:
            # Anything else KerasTuner would note as the trial's status and go on.
            raise keras_tuner.errors.FatalError from error
        if result.status == FAILED:
            raise keras_tuner.errors.FailedTrialError(result.reason)
        return {OBJECTIVE: result.score}

    def pre_create_trial(self) -> None:
        """Leave the oracle a pause."""
        time.sleep(PAUSE_SECONDS)

    def _get_tuner_fname(self) -> str:
        """Name the file whose presence says that there is a state to go on from."""
        return f"{self.project_dir}/oracle.json"

    def save(self) -> None:
        """Do nothing: a tuner has no state, and the oracle writes its own as it changes."""

    def reload(self) -> None:
        """Go on from the oracle's state, which a worker's chief has."""
        if not self._is_worker():
            self.oracle.reload()
