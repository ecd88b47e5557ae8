"""Rounds to measure on, and what their distances are exactly."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from fedsec.defenses import RoundUpdates
from fedsec.defenses.blocks import sum_blocks

Matrix = NDArray[np.float32]


def draw(n: int, d: int) -> RoundUpdates:
    """Return updates that share a direction, as those of honest clients do; their cosines are a half."""
    rows = np.empty((n, d), np.float32)
    common = np.random.default_rng(0).standard_normal(d, dtype=np.float32)

    def fill(i: int) -> None:
        np.random.default_rng([2, i]).standard_normal(out=rows[i], dtype=np.float32)
        rows[i] += common

    with ThreadPoolExecutor() as threads:
        list(threads.map(fill, range(n)))
    return RoundUpdates(np.arange(n, dtype=np.uint64), rows, np.ones(n, np.int64))


def turn_parallel(rows: Matrix) -> None:
    """Turn the rows in place until their cosines are above 0.95, as late in a training."""
    common = np.float32(6.0) * np.random.default_rng(1).standard_normal(rows.shape[1], dtype=np.float32)
    for row in rows:
        row += common


def exact_distances(rows: Matrix) -> NDArray[np.float64]:
    """Return squared distances by explicit differences in float64."""
    n = len(rows)

    def of_block(block: slice) -> NDArray[np.float64]:
        part = rows[:, block].astype(np.float64)
        sums = np.zeros((n, n))
        for i in range(n):
            difference = part[i:] - part[i]
            sums[i, i:] = np.einsum("ij,ij->i", difference, difference)
        return sums

    exact = sum_blocks(of_block, rows.shape, 4096)
    return exact + exact.T


def relative_error(found: NDArray[np.floating], exact: NDArray[np.float64]) -> float:
    """Return the largest relative error of distances (n, n), but for those of a row to itself."""
    off = ~np.eye(len(exact), dtype=bool)
    return float((np.abs(found - exact)[off] / exact[off]).max())
