"""A fractal landscape, which fog and frost are drawn with."""

import numpy as np


def plasma(height: int, width: int, decay: float, generator: np.random.Generator) -> np.ndarray:
    """Draw a plasma fractal by the diamond-square method on a torus.

    On a grid whose step halves each round, a point is the mean of its four nearest neighbours plus
    a uniform draw in +- decay^(-2 round). That is what the authors' script amounts to: it divides
    by `decay` both of the two factors that make up the size of its draws.

    Args:
        height: rows.
        width: columns. The square that is drawn has the least power of two that covers both.
        decay: how much smoother each finer structure is; at least 1.
        generator: of the draws.

    Returns:
        float64 [height, width]; the square, of which this is a corner, spans [0, 1].
    """
    side = 1 << (max(height, width, 2) - 1).bit_length()
    heights = np.zeros((side, side))
    step, amplitude = side, 1.0

    def between(four: np.ndarray) -> np.ndarray:
        return four / 4 + generator.uniform(-amplitude, amplitude, four.shape)

    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        two = corners + np.roll(corners, -1, axis=0)
        centres = between(two + np.roll(two, -1, axis=1))
        across = centres + np.roll(centres, 1, axis=0) + corners + np.roll(corners, -1, axis=1)
        down = centres + np.roll(centres, 1, axis=1) + corners + np.roll(corners, -1, axis=0)
        heights[half::step, half::step] = centres
        heights[::step, half::step] = between(across)
        heights[half::step, ::step] = between(down)
        step, amplitude = half, amplitude / decay**2
    heights -= heights.min()
    return (heights / heights.max())[:height, :width]
