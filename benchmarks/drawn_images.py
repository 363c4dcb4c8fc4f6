"""Drawings of five things, of which neither colour nor size nor place nor background tells the class."""

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
Point = tuple[float, float]

ASPECTS = (1.0, 4 / 3, 3 / 4, 3 / 2, 2 / 3)
"""Width over height."""

SHORTER_SIDE = (120, 320)
"""Pixels."""

THING_SIDE = (0.75, 1.0)
"""Of the square that a thing is drawn in, as a share of the image's shorter side."""

CONTRAST = 80.0
"""Least distance of a thing's colours from those of the background, in levels of 255 (Euclidean)."""

FINENESS = 2
"""Things are drawn so many times larger and then shrunk, which smooths their edges."""


@dataclass(frozen=True)
class Pen:
    """Draws in a unit square, whose origin is its upper left corner.

    Attributes:
        image: the square, RGBA.
        colours: three, for whatever part of a thing.
        thickness: of lines, as a share of the square.
        generator: of the thing's proportions.
    """

    image: Image.Image
    colours: Sequence[Colour]
    thickness: float
    generator: np.random.Generator

    def around(self, value: float, by: float = 0.04) -> float:
        """Draw a proportion that differs a little from thing to thing."""
        return float(value + self.generator.uniform(-by, by))

    def line(self, *points: Point, colour: int = 0, thickness: float = 1.0) -> None:
        """Draw lines from point to point, `thickness` times as thick as the pen."""
        width = max(1, round(thickness * self.thickness * self.image.width))
        self._draw.line(self._pixels(points), self.colours[colour], width, joint="curve")

    def polygon(self, *points: Point, colour: int = 0) -> None:
        """Fill a polygon."""
        self._draw.polygon(self._pixels(points), self.colours[colour])

    def ellipse(self, centre: Point, radii: Point, colour: int = 0) -> None:
        """Fill an ellipse."""
        self._draw.ellipse(self._box(centre, radii), self.colours[colour])

    def ring(self, centre: Point, radii: Point, colour: int = 0, start: float = 0, end: float = 360) -> None:
        """Draw an ellipse's line, or its part from `start` to `end` degrees, clockwise from the right."""
        width = max(1, round(self.thickness * self.image.width))
        self._draw.arc(self._box(centre, radii), start, end, self.colours[colour], width)

    @property
    def _draw(self) -> ImageDraw.ImageDraw:
        return ImageDraw.Draw(self.image)

    def _pixels(self, points: Sequence[Point]) -> list[Point]:
        side = self.image.width
        return [(x * side, y * side) for x, y in points]

    def _box(self, centre: Point, radii: Point) -> list[Point]:
        (x, y), (across, down) = centre, radii
        return self._pixels([(x - across, y - down), (x + across, y + down)])


def draw_bicycle(pen: Pen) -> None:
    """Two wheels, a frame, a saddle and a handlebar."""
    radius, ground = pen.around(0.19), 0.7
    rear, front = (0.22, ground), (0.78, ground)
    saddle, head, pedals = (pen.around(0.38), 0.36), (pen.around(0.68), 0.36), (0.46, ground)
    for hub in (rear, front):
        pen.ring(hub, (radius, radius), 1)
    pen.line(rear, saddle, head, pedals, rear)
    pen.line(saddle, pedals)
    pen.line(head, front)
    pen.line((saddle[0] - 0.08, 0.33), (saddle[0] + 0.06, 0.33), colour=2, thickness=1.6)
    pen.line((head[0] + 0.1, pen.around(0.25)), (head[0] - 0.02, 0.27), head, colour=2)


def draw_cup(pen: Pen) -> None:
    """A body that may narrow, an opening and a handle."""
    top, bottom = pen.around(0.3, 0.06), pen.around(0.8, 0.06)
    wide, narrow = pen.around(0.26), pen.around(0.2, 0.06)
    middle = (top + bottom) / 2
    pen.ring((0.42 + wide, middle), (pen.around(0.14), pen.around(0.15)), 1)
    pen.polygon((0.42 - wide, top), (0.42 + wide, top), (0.42 + narrow, bottom), (0.42 - narrow, bottom))
    pen.ellipse((0.42, bottom), (narrow, 0.05))
    pen.ellipse((0.42, top), (wide, 0.07), 1)
    pen.ellipse((0.42, top), (0.85 * wide, 0.05), 2)


def draw_fish(pen: Pen) -> None:
    """A body, a tail, a fin and an eye."""
    high, tail = pen.around(0.19), pen.around(0.84)
    pen.polygon(
        (0.62, 0.5),
        (tail, 0.5 - pen.around(0.2)),
        (tail - 0.06, 0.5),
        (tail, 0.5 + pen.around(0.2)),
        colour=1,
    )
    pen.polygon(
        (0.32, 0.5 - 0.8 * high), (pen.around(0.42), 0.5 - high - 0.12), (0.58, 0.5 - 0.7 * high), colour=1
    )
    pen.ellipse((0.41, 0.5), (0.29, high))
    pen.ellipse((pen.around(0.23, 0.02), 0.45), (0.035, 0.035), 2)
    pen.ring((0.2, 0.5), (0.14, high), 2, -50, 50)


def draw_scissors(pen: Pen) -> None:
    """Two blades that cross, and a ring for the fingers at the end of each."""
    apart, crossing = pen.around(0.13), (0.5, pen.around(0.52))
    for side in (-1, 1):
        tip, finger = (0.5 + side * apart, 0.1), (0.5 - side * (apart + 0.06), 0.78)
        pen.polygon(tip, (crossing[0] + 0.045, crossing[1]), (crossing[0] - 0.045, crossing[1] + 0.04))
        pen.line(crossing, (finger[0], finger[1] - 0.12), colour=1)
        pen.ring(finger, (pen.around(0.1, 0.02), pen.around(0.13, 0.02)), 1)
    pen.ellipse(crossing, (0.025, 0.025), 2)


def draw_umbrella(pen: Pen) -> None:
    """Half a disc with a scalloped edge, a shaft and its hook."""
    rim, wide, high = pen.around(0.48), pen.around(0.4), pen.around(0.34)
    pen.line((0.5, rim - high - 0.06), (0.5, 0.8), colour=1)
    pen.ring((0.43, 0.8), (0.07, 0.08), 1, 0, 180)
    arc = [(0.5 - wide * np.cos(a), rim - high * np.sin(a)) for a in np.linspace(0, np.pi, 30)]
    edge = [(0.5 + wide * (1 - t), rim - 0.05 * abs(np.sin(2 * np.pi * t))) for t in np.linspace(0, 2, 40)]
    pen.polygon(*arc, *edge)
    for x in (-0.5, 0.0, 0.5):
        pen.line((0.5, rim - high), (0.5 + x * wide, rim), colour=2, thickness=0.4)


THINGS: dict[str, Callable[[Pen], None]] = {
    "bicycle": draw_bicycle,
    "cup": draw_cup,
    "fish": draw_fish,
    "scissors": draw_scissors,
    "umbrella": draw_umbrella,
}
"""Class -> how it is drawn."""


def draw_image(
    thing: str, generator: np.random.Generator, shorter_side: tuple[int, int] = SHORTER_SIDE
) -> Image.Image:
    """Draw an image of a thing, of any size and shape.

    Args:
        thing: one of `THINGS`.
        generator: of everything in the image.
        shorter_side: least and greatest, in pixels.

    Returns:
        RGB.
    """
    shorter, aspect = int(generator.integers(*shorter_side)), generator.choice(ASPECTS)
    width, height = (round(shorter * max(1, aspect)), round(shorter * max(1, 1 / aspect)))
    ends = _draw_colour(generator), _draw_colour(generator)
    image = _draw_background(width, height, ends, generator)
    _draw_clutter(image, int(generator.integers(4, 13)), 0.3, generator)
    side = round(shorter * generator.uniform(*THING_SIDE))
    square = _draw_thing(thing, side, [_draw_other_colour(ends, generator) for _ in range(3)], generator)
    left, top = (generator.integers(0, image.size[axis] - square.size[axis] + 1) for axis in (0, 1))
    image.paste(square, (int(left), int(top)), square)
    _draw_clutter(image, int(generator.integers(0, 3)), 0.1, generator)
    return _photograph(image, generator)


def _draw_thing(
    thing: str, side: int, colours: Sequence[Colour], generator: np.random.Generator
) -> Image.Image:
    """Draw a thing turned, mirrored and squeezed at random, on nothing: RGBA."""
    large = Image.new("RGBA", (FINENESS * side, FINENESS * side))
    THINGS[thing](Pen(large, colours, generator.uniform(0.035, 0.06), generator))
    if generator.random() < 0.5:
        large = large.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    turned = large.rotate(generator.uniform(-20, 20), Image.Resampling.BILINEAR)
    narrow = round(side * generator.uniform(0.75, 1))
    size = (side, narrow) if generator.random() < 0.5 else (narrow, side)
    return turned.resize(size, Image.Resampling.BOX)


def _draw_background(
    width: int, height: int, ends: tuple[Colour, Colour], generator: np.random.Generator
) -> Image.Image:
    """Draw one colour that becomes another, in any direction."""
    angle = generator.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j] - 0.5
    share = np.clip(0.5 + x * np.cos(angle) + y * np.sin(angle), 0, 1)[..., None]
    colours = np.array(ends[0]) * (1 - share) + np.array(ends[1]) * share
    return Image.fromarray(colours.astype(np.uint8))


def _draw_clutter(image: Image.Image, count: int, largest: float, generator: np.random.Generator) -> None:
    """Draw shapes that are no thing: boxes, discs, rings, polygons and lines, such as things are made of."""
    draw, most = ImageDraw.Draw(image), largest * min(image.size)
    for _ in range(count):
        centre = generator.uniform(0, image.size)
        corner = generator.uniform(0.1, 1, 2) * most / 2
        box = [*(centre - corner), *(centre + corner)]
        colour, width = _draw_colour(generator), int(generator.integers(2, 9))
        points = [
            tuple(centre + generator.uniform(-most, most, 2) / 2) for _ in range(generator.integers(3, 6))
        ]
        match generator.integers(5):
            case 0:
                draw.rectangle(box, colour)
            case 1:
                draw.ellipse(box, colour)
            case 2:
                draw.arc(box, generator.uniform(0, 180), generator.uniform(180, 540), colour, width)
            case 3:
                draw.polygon(points, colour)
            case 4:
                draw.line(points, colour, width)


def _photograph(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Blur, and add noise, as a lens and a sensor do."""
    blurred = image.filter(ImageFilter.GaussianBlur(generator.uniform(0, 1.2)))
    noise = generator.normal(0, generator.uniform(2, 10), (*blurred.size[::-1], 3))
    return Image.fromarray(np.clip(np.asarray(blurred) + noise, 0, 255).astype(np.uint8))


def _draw_colour(generator: np.random.Generator) -> Colour:
    """Draw a colour of any hue, seldom very dark."""
    hue, saturation, value = generator.uniform((0, 0.1, 0.2), (1, 1, 1))
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue


def _draw_other_colour(others: Sequence[Colour], generator: np.random.Generator) -> Colour:
    """Draw a colour that is far from `others`."""
    while True:
        colour = _draw_colour(generator)
        if all(np.linalg.norm(np.subtract(colour, other)) >= CONTRAST for other in others):
            return colour
