"""What an export found out, from which the report and the model card are written."""

from dataclasses import dataclass, field

from export.quantize.calibration_images import CalibrationImages
from export.quantize.strategies import Rung
from export.tflite.latency import Latency
from export.verify.comparison import Comparison
from export.verify.micro import MicroResult


@dataclass(frozen=True)
class Tried:
    """A way to quantise and how it did.

    Attributes:
        rung: the way.
        content: the .tflite file.
        comparison: with the Keras network on test.
        latency_ms: median of one image on one thread.
    """

    rung: Rung
    content: bytes
    comparison: Comparison
    latency_ms: float


@dataclass(frozen=True)
class Halves:
    """How far calibrating on either half of the images leads apart.

    Attributes:
        images: in each half.
        median_scale_change: of the activations' scales, relative.
        largest_scale_change: relative.
        largest_layer: the Keras layer it is at.
        agreement: share of test images on which both answer alike.
        accuracies: of either on test.
    """

    images: tuple[int, int]
    median_scale_change: float
    largest_scale_change: float
    largest_layer: str
    agreement: float
    accuracies: tuple[float, float]


@dataclass
class Findings:
    """What is known so far.

    Attributes:
        calibration: the calibration split's images.
        files: TFLite format -> the file's content.
        differences: exact format -> largest difference of a score from the Keras network's.
        comparisons: format -> how it compares with the Keras network on test.
        tried: every way to quantise to int8, the chosen one last.
        halves: how stable the chosen one's calibration is.
        micro: what TensorFlow Lite Micro made of the int8 file, or why it made nothing.
        latencies: TFLite format -> its speed, on one thread and on all where both were measured.
    """

    calibration: CalibrationImages
    files: dict[str, bytes] = field(default_factory=dict)
    differences: dict[str, float] = field(default_factory=dict)
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    tried: list[Tried] = field(default_factory=list)
    halves: Halves | None = None
    micro: MicroResult | str | None = None
    latencies: dict[str, list[Latency]] = field(default_factory=dict)
