"""Many small images as one."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WHITE = 255
GAP = 1

SIDE = 8
"""Images along each side of a picture of what a generator makes."""


def mosaic(rows: Sequence[NDArray[np.uint8]], columns: int) -> NDArray[np.uint8]:
    """Return one image (height, width) or (height, width, 3) with a line for each of ``rows``, white at its end.

    Args:
        rows: (K, C, H, W) uint8 each, with K up to ``columns``, of one shape (C, H, W); at least one row.
        columns: images in a row.
    """
    channels, height, width = rows[0].shape[1:]
    size = (len(rows) * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels)
    whole = np.full(size, WHITE, np.uint8)
    for line, images in enumerate(rows):
        for place, image in enumerate(images[:columns]):
            top, left = line * (height + GAP), place * (width + GAP)
            whole[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return whole[:, :, 0] if channels == 1 else whole


def square(images: NDArray[np.uint8], side: int = SIDE) -> NDArray[np.uint8]:
    """Return the first ``side`` x ``side`` images (N, C, H, W) as one, with as many lines as it takes; N >= 1."""
    return mosaic([images[start : start + side] for start in range(0, min(len(images), side * side), side)], side)


def corner(picture: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.uint8]:
    """Return the first images of a picture that :func:`square` made with :data:`SIDE` of them in a line."""
    step = (picture.shape[1] + GAP) // SIDE
    return picture[: step * rows - GAP, : step * columns - GAP]
