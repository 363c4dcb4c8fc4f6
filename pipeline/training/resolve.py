"""A run's settings with every hole closed, and what it is trained on: the one place that decides."""

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Self

import tensorflow as tf

from pipeline.config.config import Config
from pipeline.data.batches import Order
from pipeline.data.prepare import PixelStatistics, PreparedData, check_fits, pixel_statistics, prepare_data
from pipeline.data.splits import describe_splits
from pipeline.errors import UserError
from pipeline.hosts.hosts import Hosts
from pipeline.models import resolve_model
from pipeline.pretrained import Pretrained, assign_pretrained, read_pretrained
from pipeline.training.devices import (
    build_strategy,
    choose_precision,
    choose_teacher_precision,
    describe_devices,
)
from pipeline.training.networks import build_deployed_network
from pipeline.training.teacher import Teacher, read_teacher
from pipeline.training.transfer import freeze


@contextlib.contextmanager
def images_in_place() -> Iterator[None]:
    """Explain images that vanish meanwhile, and a disk that fills.

    Raises:
        UserError: in place of TensorFlow's own error.
    """
    try:
        yield
    except (tf.errors.ResourceExhaustedError, OSError) as error:
        if reason := disk_fault(error):
            raise UserError(
                f"the disk must have room for what is written; {reason} (what was saved before is whole)"
            ) from error
        raise
    except tf.errors.NotFoundError as error:
        reason = error.message.splitlines()[0]
        raise UserError(f"images must stay where they are while a run reads them; {reason}") from error


def disk_fault(error: tf.errors.ResourceExhaustedError | OSError) -> str | None:
    """Return what was wrong with the disk, where that is what was exhausted.

    One class of TensorFlow's errors stands for a full disk, a quota and the memory.
    """
    reasons = [os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT)]
    # TensorFlow's begins with the name of an operation, in braces.
    text = str(error).rpartition("}} ")[2]
    return text.partition("\n")[0] if any(reason in text for reason in reasons) else None


@dataclass(frozen=True)
class Ground:
    """What runs on the same images and devices, from the same weights, share.

    Attributes:
        data: the images and their splits.
        statistics: of the pixels: what `pretrained` wants, else those of train.
        strategy: of the devices.
        pretrained: weights to start from, where there are any.
        teacher: a network to learn from, where there is one.
        hosts: that train together; one alone, where nothing else is said.
    """

    data: PreparedData
    statistics: PixelStatistics
    strategy: tf.distribute.Strategy
    pretrained: Pretrained | None = None
    teacher: Teacher | None = None
    hosts: Hosts = field(default_factory=Hosts)
    _resized: dict[int, Self] = field(default_factory=dict, init=False, repr=False, compare=False)

    def at(self, image_size: int) -> Self:
        """Return what runs on the same images at another size share; each size is measured once.

        Args:
            image_size: height and width, pixels; 0: as they are here.
        """
        if image_size in (0, self.data.image_size):
            return self
        if image_size not in self._resized:
            data = replace(self.data, image_size=image_size)
            statistics = _statistics(data, self.pretrained, self.hosts)
            self._resized[image_size] = replace(self, data=data, statistics=statistics)
        return self._resized[image_size]


@dataclass(frozen=True)
class Resolved:
    """One run, decided.

    Attributes:
        config: the settings; size of the images, width, stem, devices and precision are settled.
        precision_reason: why this precision.
        ground: what it shares with other runs.
    """

    config: Config
    precision_reason: str
    ground: Ground

    @property
    def classes(self) -> int:
        """Number of logits."""
        return len(self.ground.data.source.class_names)

    @property
    def replicas(self) -> int:
        """Devices that share a batch."""
        return self.ground.strategy.num_replicas_in_sync

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one pass over train."""
        rows, fit = self.ground.data.splits.train, self.config.fit
        return Order(rows, fit.batch_size, self.config.run.seed).steps_per_epoch

    @property
    def total_steps(self) -> int:
        """Steps of the whole run, those of fine-tuning included."""
        return self.config.total_epochs * self.steps_per_epoch


def prepare_ground(config: Config, hosts: Hosts | None = None) -> Ground:
    """Find the devices; load, check, split and measure the data; read the weights and the teacher.

    Args:
        config: the settings.
        hosts: that train together; None: this one alone.

    Raises:
        UserError: there are no such devices, or the data, weights or teacher are missing, damaged or
            unfit, or not the same on every host.
    """
    hosts = hosts or Hosts()
    strategy = build_strategy(config.run.devices, hosts)
    # Before the data is read: the settings check themselves against the devices there are.
    _resolve_devices(config, strategy)
    data = prepare_data(config)
    teacher = read_teacher(config, data) if config.transfer.teacher else None
    weights = config.transfer.weights
    pretrained = read_pretrained(weights, config.model.model) if weights else None
    splits = describe_splits(data.source, data.splits)["splits"]
    hosts.agree(
        {
            **{
                f"images of {name}": f"{of['images']}, {of['fingerprint'][:16]}"
                for name, of in splits.items()
            },
            "weights to start from": pretrained and pretrained.fingerprint,
            "teacher": teacher and teacher.pretrained.fingerprint,
        }
    )
    return Ground(data, _statistics(data, pretrained, hosts), strategy, pretrained, teacher, hosts)


def _statistics(data: PreparedData, pretrained: Pretrained | None, hosts: Hosts) -> PixelStatistics:
    """Return those that the weights want, else the chief's of train, as processors may round differently."""
    if pretrained:
        return PixelStatistics(pretrained.mean, pretrained.std)
    measured = asdict(pixel_statistics(data.examples("train"))) if hosts.is_chief else None
    return PixelStatistics(*map(tuple, hosts.tell(measured).values()))


def resolve(config: Config, ground: Ground) -> Resolved:
    """Close what the settings left open: image size, width, stem, devices and precision.

    The shortcut `auto` stays, for it is the network's own, and so does the split's seed of -1,
    which is the run's.

    Args:
        config: the settings; a size of the images that they name is the run's, whatever `ground` has.
        ground: what the run shares with others.

    Raises:
        UserError: the settings do not fit the data or the devices.
    """
    ground = ground.at(config.data.image_size)
    check_fits(config, ground.data)
    config, reason = _resolve_devices(resolve_network(config, ground.data), ground.strategy)
    # What the chief's processor computes best rules.
    values, reason = ground.hosts.tell([config.values(), reason])
    return Resolved(config.with_values(values), reason, ground)


def resolve_network(config: Config, data: PreparedData) -> Config:
    """Close what the settings left open of the network: image size, width and stem."""
    size = config.data.image_size or data.image_size
    model = resolve_model(config.model, size)
    return config.with_values({"image_size": size, "width": model.width, "stem": model.stem})


def _resolve_devices(config: Config, strategy: tf.distribute.Strategy) -> tuple[Config, str]:
    """Put the devices and the precisions in place of `auto`; return the reason for the network's own."""
    precision, reason = choose_precision(config, strategy)
    values = {"devices": describe_devices(strategy), "precision": precision}
    if config.transfer.teacher:
        values["teacher_precision"] = choose_teacher_precision(config)
    return config.with_values(values), reason


def verify_start(resolved: Resolved) -> None:
    """Hold the weights that a run starts from, and what it freezes, to its network.

    Raises:
        UserError: they do not fit.
    """
    if resolved.ground.pretrained:
        network = build_deployed_network(resolved.config, resolved.classes, resolved.ground.statistics)
        assign_pretrained(resolved.ground.pretrained, network, resolved.ground.data.source.class_names)
        freeze(network, resolved.config.transfer.freeze)
