"""How an image file becomes what a network sees: one contract for training and device."""

from dataclasses import dataclass

RESIZES = ("squash", "crop", "pad")


@dataclass(frozen=True)
class Reading:
    """What is done with every image, in training, evaluation and on the device alike.

    Attributes:
        exif_orientation: turn it upright, as the EXIF orientation of its file says.
        resize: how it becomes a square; see `pipeline.data.decoding.resize`.
        crop_share: side of the square that `crop` cuts out, as a share of the shorter side.
        border: level of all channels around an image that `pad` makes square.
    """

    exif_orientation: bool = True
    resize: str = "squash"
    crop_share: float = 0.875
    border: int = 128


READING = Reading()
"""What is done unless a run is told otherwise."""
