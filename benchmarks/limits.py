"""What this machine can do at most: read memory, multiply matrices."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

PARTS = 32
"""Parts for each thread to read: few enough to cost nothing, enough for the threads to end together."""

SIDE = 2048
"""Rows and columns of the matrices that are multiplied; larger ones are multiplied at the same rate."""


def reader(rows: NDArray[np.float32]) -> Callable[[], object]:
    """Return what reads all of ``rows`` on every core, in the order in which they lie in memory."""
    cores = os.cpu_count() or 1
    parts = np.array_split(rows.reshape(-1), PARTS * cores)
    threads = ThreadPoolExecutor(cores)
    return lambda: list(threads.map(lambda part: part.max(), parts))


def multiplier() -> tuple[Callable[[], object], float]:
    """Return what multiplies large square matrices on every core, and how many float32 operations that takes."""
    cores = os.cpu_count() or 1
    left, right = (np.random.default_rng(seed).random((SIDE, SIDE), dtype=np.float32) for seed in (0, 1))
    products = [np.empty((SIDE, SIDE), np.float32) for _ in range(cores)]
    threads = ThreadPoolExecutor(cores)

    def multiply() -> None:
        with threadpool_limits(1, "blas"):
            list(threads.map(lambda product: np.dot(left, right, out=product), products))

    return multiply, cores * 2.0 * SIDE**3
