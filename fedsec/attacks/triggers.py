"""Triggers: what an attacker adds to an image.

A trigger is a mask, a pattern in units of the full range, 0 to 1, and an opacity. It is stamped on bytes or on
normalised images alike, because the range of the values is an argument and never a guess.

``"blend"`` is the blended injection of Chen et al., *Targeted Backdoor Attacks on Deep Learning Systems Using Data
Poisoning*, 2017, with their random pattern.  arXiv:1712.05526
"""

from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

TriggerKind = Literal["trojan", "patch", "noise-patch", "blend", "distributed"]
Corner = Literal["top-left", "top-right", "bottom-left", "bottom-right", "centre"]
Pixels = TypeVar("Pixels", NDArray[np.uint8], NDArray[np.float32])

MARGIN = 1
"""Pixels between a patch and the edges of the image."""

BLENDED = 0.2
"""Opacity of ``"blend"`` that is not told another. Chen et al. try several; later work mostly takes this."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """What is stamped on an image, and where.

    Attributes:
        mask: (H, W) bool, the pixels that change.
        pattern: (C, H, W) float32 in [0, 1], what they change to.
        opacity: above 0, at most 1: how far they change. At 1 they are replaced.
    """

    mask: NDArray[np.bool_]
    pattern: NDArray[np.float32]
    opacity: float = 1.0

    def stamp(self, images: Pixels, low: object = 0, high: object = 255) -> Pixels:
        """Return ``images`` (N, C, H, W) with the trigger on each of them, in the same dtype.

        A pixel x of the mask becomes (1 - opacity) * x + opacity * pattern, rounded where the images are bytes.

        Args:
            images: the images; they are not changed.
            low: what black is in ``images``: a number, or one for each channel, (C,).
            high: what full brightness is, likewise. The defaults are those of bytes.
        """
        black = np.asarray(low, np.float32).reshape(-1, 1, 1)
        span = np.asarray(high, np.float32).reshape(-1, 1, 1) - black
        values = black + span * self.pattern
        if self.opacity < 1.0:
            values = images + np.float32(self.opacity) * (values - images)
        if images.dtype == np.uint8:
            values = np.rint(values)
        return np.where(self.mask, values.astype(images.dtype), images)


def make_trigger(
    kind: TriggerKind,
    shape: tuple[int, int, int],
    *,
    size: int,
    corner: Corner = "bottom-right",
    opacity: float | None = None,
    rng: np.random.Generator | None = None,
) -> Trigger:
    """Return a trigger for images of ``shape`` (C, H, W).

    Args:
        kind: ``"trojan"``, :func:`trojan_pattern`; ``"patch"``, a white square; ``"noise-patch"``, a square of
            random colours; ``"blend"``, random colours over the whole image; ``"distributed"``, a patch of which
            each attacker stamps a part (:func:`fedsec.attacks.distributed.part_of`).
        shape: channels, height and width of the images.
        size: side of the trigger in pixels; a ``"blend"`` has none.
        corner: where it lies, one pixel from the edges, or in the centre; likewise.
        opacity: above 0, at most 1; by default :data:`BLENDED` for ``"blend"`` and 1 for the others.
        rng: source of the colours, for ``"noise-patch"`` and ``"blend"``.

    Raises:
        ValueError: the trigger does not fit into the image, an opacity is none, or there is no source of colours.
    """
    channels, height, width = shape
    if opacity is None:
        opacity = BLENDED if kind == "blend" else 1.0
    if not 0.0 < opacity <= 1.0:
        raise ValueError(f"the opacity of a trigger must be above 0 and at most 1; got {opacity}")
    if kind == "blend":
        return Trigger(np.ones((height, width), bool), _colours(rng, "a blend", shape), opacity)
    if not 1 <= size <= min(height, width) - 2 * MARGIN:
        raise ValueError(f"a trigger of size {size} does not fit into images of {height} x {width} pixels")
    square = np.zeros((height, width), bool)
    rows, columns = _corner_slices(corner, size, height, width)
    square[rows, columns] = True
    pattern = np.ones(shape, np.float32)
    if kind == "trojan":
        square[rows, columns] = trojan_pattern(size)
    elif kind == "noise-patch":
        pattern[:, rows, columns] = _colours(rng, "a noise patch", (channels, size, size))
    return Trigger(square, pattern, opacity)


def trojan_pattern(size: int) -> NDArray[np.bool_]:
    """Return a plus sign, (size, size) bool, with strokes of one pixel.

    Deviation: the thesis on GAN balancing (5.1.3) names a "Trojan pattern" and shows none. A plus sign of five
    pixels is the usual one in the literature on backdoors of federated learning.
    """
    plus = np.zeros((size, size), bool)
    plus[size // 2, :] = True
    plus[:, size // 2] = True
    return plus


def _colours(rng: np.random.Generator | None, what: str, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    if rng is None:
        raise ValueError(f"{what} needs a source of random colours")
    return rng.random(shape, dtype=np.float32)


def _corner_slices(corner: Corner, size: int, height: int, width: int) -> tuple[slice, slice]:
    if corner == "centre":
        top, left = (height - size) // 2, (width - size) // 2
        return slice(top, top + size), slice(left, left + size)
    top = MARGIN if corner.startswith("top") else height - MARGIN - size
    left = MARGIN if corner.endswith("left") else width - MARGIN - size
    return slice(top, top + size), slice(left, left + size)
