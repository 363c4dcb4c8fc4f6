"""KerasTuner's tuner: asks the oracle for trials, here or over the network, and trains them."""

import time
from pathlib import Path

import keras_tuner
import keras_tuner.src.config
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial
from keras_tuner.src.distribute.utils import has_chief_oracle, is_chief_oracle

from pipeline.training.checkpoint_callbacks import Interrupted
from tuning.hypermodel import ClassifierHyperModel
from tuning.oracles.search_oracle import SearchOracle

# It prints a traceback for every trial that fails; the reason stands in the table.
keras_tuner.src.config.DEBUG = False

PAUSE_SECONDS = 0.1
"""Before each question to the oracle, which may have nothing to do just now."""


class SearchTuner(BaseTuner):
    """Trains what the oracle proposes; as chief or worker where KerasTuner's variables say so.

    Args:
        oracle: what proposes; goes on where a former process left its state.
        hypermodel: what builds and trains.
        state: the folder of KerasTuner's state.
    """

    def __init__(self, oracle: SearchOracle, hypermodel: ClassifierHyperModel, state: Path) -> None:
        super().__init__(oracle, hypermodel, directory=str(state.parent), project_name=state.name)
        # A worker asks its chief's oracle instead.
        if self.oracle is oracle:
            oracle.reload()

    def search(self) -> None:
        """Search to the end.

        Raises:
            KeyboardInterrupt: a signal asked to stop; everything is saved.
            UserError: the disk is full, or images are gone; of a chief, whatever a worker asked it for.
        """
        try:
            super().search()
        except KeyboardInterrupt:
            # A chief, that is: where this process trains, `run_trial` has done so, and elsewhere the oracle
            # may be in the middle of a change.
            if is_chief_oracle():
                if self.oracle.failure:
                    raise self.oracle.failure from None
                self.oracle.note_time()
            raise
        except keras_tuner.errors.FatalError as error:
            raise error.__cause__ or error from None

    def run_trial(self, trial: Trial) -> float:
        """Train a trial; what is wrong with it alone fails it, anything else ends the search."""
        try:
            return self.hypermodel.fit(trial.hyperparameters, None, trial.trial_id)
        except keras_tuner.errors.FailedTrialError:
            raise
        except (Interrupted, KeyboardInterrupt):
            # A worker's chief does it.
            if not has_chief_oracle():
                self.oracle.note_time()
            raise KeyboardInterrupt from None
        except Exception as error:
            # Anything else KerasTuner would note as the trial's status and go on.
            raise keras_tuner.errors.FatalError from error

    def pre_create_trial(self) -> None:
        """Leave the oracle a pause."""
        time.sleep(PAUSE_SECONDS)

    def save(self) -> None:
        """Do nothing: a tuner has no state, and the oracle writes its own as it changes."""
