"""KerasTuner's view of the search: its hyperparameters, and the network that they describe."""

import keras
import keras_tuner

from pipeline.config.config import Config
from pipeline.training.networks import build_deployed_network
from pipeline.training.resolve import Ground, resolve
from tuning.space.search_space import Dimension, Space, Value, apply, nearest_values


def declare(space: Space, config: Config) -> keras_tuner.HyperParameters:
    """Declare the space to KerasTuner; what `config` has, as near as may be, is the default."""
    hp = keras_tuner.HyperParameters()
    defaults = nearest_values(space, config)
    for dimension in space:
        default = defaults.get(dimension.name)
        if dimension.when is None:
            _declare_one(hp, dimension, default)
        else:
            name, wanted = dimension.when
            with hp.conditional_scope(name, list(wanted)):
                _declare_one(hp, dimension, default)
    return hp


def _declare_one(hp: keras_tuner.HyperParameters, dimension: Dimension, default: Value | None) -> None:
    if dimension.choices:
        hp.Choice(dimension.name, list(dimension.choices), dimension.is_ordered, default)
    else:
        sampling = "log" if dimension.log else "linear"
        hp.Float(dimension.name, dimension.low, dimension.high, sampling=sampling, default=default)


class ClassifierHyperModel(keras_tuner.HyperModel):
    """Builds the networks of a search with the builder that `train.py` trains with.

    Args:
        config: the settings that the hyperparameters change.
        ground: the data that the networks are for.
    """

    def __init__(self, config: Config, ground: Ground) -> None:
        super().__init__()
        self.config, self.ground = config, ground

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Build the network of `hp` as it is deployed."""
        resolved = resolve(apply(hp.values, self.config), self.ground)
        return build_deployed_network(resolved.config, resolved.classes, self.ground.statistics)
