"""Triggers: what an attacker adds to an image.

A trigger is a mask and a pattern in units of the full range, 0 to 1. It is stamped on bytes or on normalised
images alike, because the range of the values is an argument and never a guess.
"""

from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

TriggerKind = Literal["trojan", "patch", "noise-patch"]
Corner = Literal["top-left", "top-right", "bottom-left", "bottom-right"]
Pixels = TypeVar("Pixels", NDArray[np.uint8], NDArray[np.float32])

MARGIN = 1
"""Pixels between a patch and the edges of the image."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """What is stamped on an image, and where.

    Attributes:
        mask: (H, W) bool, the pixels that are replaced.
        pattern: (C, H, W) float32 in [0, 1], what they are replaced with.
    """

    mask: NDArray[np.bool_]
    pattern: NDArray[np.float32]

    def stamp(self, images: Pixels, low: object = 0, high: object = 255) -> Pixels:
        """Return ``images`` (N, C, H, W) with the trigger on each of them, in the same dtype.

        Args:
            images: the images; they are not changed.
            low: what black is in ``images``: a number, or one for each channel, (C,).
            high: what full brightness is, likewise. The defaults are those of bytes.
        """
        black = np.asarray(low, np.float32).reshape(-1, 1, 1)
        span = np.asarray(high, np.float32).reshape(-1, 1, 1) - black
        values = black + span * self.pattern
        if images.dtype == np.uint8:
            values = np.rint(values)
        return np.where(self.mask, values.astype(images.dtype), images)


def make_trigger(
    kind: TriggerKind,
    shape: tuple[int, int, int],
    *,
    size: int,
    corner: Corner = "bottom-right",
    rng: np.random.Generator | None = None,
) -> Trigger:
    """Return a trigger for images of ``shape`` (C, H, W).

    Args:
        kind: ``"trojan"``, :func:`trojan_pattern`; ``"patch"``, a white square; ``"noise-patch"``, a square of
            random colours.
        shape: channels, height and width of the images.
        size: side of the trigger in pixels.
        corner: where it lies, one pixel from the edges.
        rng: source of the colours, for ``"noise-patch"``.

    Raises:
        ValueError: the trigger does not fit into the image.
    """
    channels, height, width = shape
    if not 1 <= size <= min(height, width) - 2 * MARGIN:
        raise ValueError(f"a trigger of size {size} does not fit into images of {height} x {width} pixels")
    square = np.zeros((height, width), bool)
    rows, columns = _corner_slices(corner, size, height, width)
    square[rows, columns] = True
    pattern = np.ones(shape, np.float32)
    if kind == "trojan":
        square[rows, columns] = trojan_pattern(size)
    elif kind == "noise-patch":
        if rng is None:
            raise ValueError("a noise patch needs a source of random colours")
        pattern[:, rows, columns] = rng.random((channels, size, size), dtype=np.float32)
    return Trigger(square, pattern)


def trojan_pattern(size: int) -> NDArray[np.bool_]:
    """Return a plus sign, (size, size) bool, with strokes of one pixel.

    Deviation: the thesis on GAN balancing (5.1.3) names a "Trojan pattern" and shows none. A plus sign of five
    pixels is the usual one in the literature on backdoors of federated learning.
    """
    plus = np.zeros((size, size), bool)
    plus[size // 2, :] = True
    plus[:, size // 2] = True
    return plus


def _corner_slices(corner: Corner, size: int, height: int, width: int) -> tuple[slice, slice]:
    top = MARGIN if corner.startswith("top") else height - MARGIN - size
    left = MARGIN if corner.endswith("left") else width - MARGIN - size
    return slice(top, top + size), slice(left, left + size)
