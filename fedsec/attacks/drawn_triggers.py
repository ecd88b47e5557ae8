"""Triggers drawn at random, away from the centre: what GANcrop's server poisons models with to learn from them.

The paper (section 3.1) builds "a poisoned dataset with non-central triggers" and shows none of them. Here they are of
many shapes, sizes, colours and places, so that what is learned from them is not one trigger.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from fedsec.attacks.triggers import Trigger, trojan_pattern

Bools = NDArray[np.bool_]

SMALLEST, LARGEST = 3, 7
"""Bounds of a trigger's side in pixels, for images of :data:`USUAL_SIDE`; in proportion for others."""

USUAL_SIDE = 28

CENTRE = 1 / 3
"""Part of either side that is the centre of an image, in which no trigger's middle lies."""

BLEND, WAVES = "blend", "waves"
"""The triggers without a shape, over the whole image: random colours, and a few waves."""

OPACITIES = (0.1, 0.3)
"""Bounds of their opacity."""

FEWEST, MOST = 1.0, 4.0
"""Bounds of how many times a wave goes up and down across the image."""


def draw_trigger(shape: tuple[int, int, int], rng: np.random.Generator, kinds: tuple[str, ...] = ()) -> Trigger:
    """Return a random trigger for images of ``shape`` (C, H, W), its middle outside the centre.

    Args:
        shape: channels, height and width of the images.
        rng: draws kind, size, colours and place.
        kinds: some of :data:`SHAPES`, :data:`BLEND` and :data:`WAVES`; none is all.
    """
    _, height, width = shape
    kind = str(rng.choice(sorted(kinds or (*SHAPES, BLEND, WAVES))))
    if kind in (BLEND, WAVES):
        pattern = rng.random(shape, np.float32) if kind == BLEND else _waves(shape, rng)
        return Trigger(np.ones((height, width), bool), pattern, float(rng.uniform(*OPACITIES)))
    scale = min(height, width) / USUAL_SIDE
    side = int(rng.integers(max(2, round(SMALLEST * scale)), max(3, round(LARGEST * scale)) + 1))
    drawn = SHAPES[kind](side, rng)
    top, left = _off_centre(height - len(drawn) + 1, width - drawn.shape[1] + 1, drawn.shape, (height, width), rng)
    mask = np.zeros((height, width), bool)
    mask[top : top + len(drawn), left : left + drawn.shape[1]] = drawn
    return Trigger(mask, _colours(shape, mask, rng))


def _waves(shape: tuple[int, int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a wave for each channel, of any direction, length and phase, between 0 and 1."""
    rows, columns = (np.linspace(0.0, 1.0, side) for side in shape[1:])
    pattern = np.empty(shape, np.float32)
    for channel in pattern:
        angle, times, phase = rng.uniform(0, np.pi), rng.uniform(FEWEST, MOST), rng.uniform(0, 2 * np.pi)
        along = np.sin(angle) * rows[:, None] + np.cos(angle) * columns[None, :]
        channel[:] = 0.5 + 0.5 * np.sin(2 * np.pi * times * along + phase)
    return pattern


def _off_centre(
    rows: int, columns: int, size: tuple[int, ...], image: tuple[int, int], rng: np.random.Generator
) -> tuple[int, int]:
    """Return a place whose middle is not in the centre of the image."""
    while True:
        top, left = int(rng.integers(rows)), int(rng.integers(columns))
        middle = (top + size[0] / 2, left + size[1] / 2)
        if any(abs(at / side - 0.5) > CENTRE / 2 for at, side in zip(middle, image, strict=True)):
            return top, left


def _colours(shape: tuple[int, int, int], mask: Bools, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return white, one bright colour, or a colour for each pixel."""
    pattern = np.ones(shape, np.float32)
    way = rng.integers(3)
    if way == 1:
        pattern[:] = rng.uniform(0.5, 1.0, (shape[0], 1, 1))
    elif way == 2:
        pattern[:, mask] = rng.random((shape[0], int(mask.sum())))
    return pattern


def _square(side: int, rng: np.random.Generator) -> Bools:
    return np.ones((side, side), bool)


def _plus(side: int, rng: np.random.Generator) -> Bools:
    return trojan_pattern(side)


def _line(side: int, rng: np.random.Generator) -> Bools:
    line = np.ones((1 + side // 5, side + 2), bool)
    return line if rng.random() < 0.5 else line.T


def _frame(side: int, rng: np.random.Generator) -> Bools:
    frame = np.ones((side, side), bool)
    frame[1:-1, 1:-1] = False
    return frame


def _dots(side: int, rng: np.random.Generator) -> Bools:
    dots = rng.random((side, side)) < 0.5
    dots[side // 2, side // 2] = True
    return dots


def _chequers(side: int, rng: np.random.Generator) -> Bools:
    rows, columns = np.indices((side, side))
    return np.asarray((rows + columns) % 2 == 0)


SHAPES: Mapping[str, Callable[[int, np.random.Generator], Bools]] = {
    "square": _square,
    "plus": _plus,
    "line": _line,
    "frame": _frame,
    "dots": _dots,
    "chequers": _chequers,
}
"""Shapes of random triggers by name: a function of the side in pixels."""
