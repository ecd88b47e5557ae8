"""Many small images as one."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WHITE = 255
GAP = 1


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
