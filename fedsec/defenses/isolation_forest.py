"""Isolation Forest of single numbers.  Liu et al., *Isolation Forest*, ICDM 2008."""

import math

import numpy as np
from numpy.typing import NDArray

from fedsec.defenses.updates import Vector

TREES = 100
"""The paper's number of trees, and scikit-learn's."""


def isolation_scores(values: Vector, rng: np.random.Generator) -> Vector:
    """Return the anomaly score s = 2^(-E[h] / c(n)) of each of ``values`` (n,) finite; above 0.5 is an outlier.

    h is the depth at which a tree isolates a value, plus c(m) where m values are left together, and c(n) the mean depth
    in a search tree of n. Each tree sees all values and is cut off at depth ceil(log2 n). Values that are all equal
    have the score 0.5.

    A tree cuts [lowest, highest] of a node at a uniform place, so it cuts a gap between two neighbours with probability
    gap / (highest - lowest). The first of exponential waiting times with the gaps as rates is drawn with just that
    probability, in every node, and what is left to wait does not depend on it. So one waiting time for each gap is a
    whole tree. All trees are grown at once, level by level; scikit-learn's ``IsolationForest`` grows the same trees one
    by one, in thirty times as long or more.
    """
    order = np.argsort(values, kind="stable")
    ordered, n = values[order], len(values)
    if n == 0 or ordered[0] == ordered[-1]:
        return np.full(n, 0.5)
    waits = np.full((TREES, n), np.inf)  # the last of a row stands for the end of the values
    with np.errstate(divide="ignore", over="ignore"):  # equal values are never parted, 0.0 and -0.0 neither
        waits[:, :-1] = rng.standard_exponential((TREES, n - 1)) / np.abs(np.diff(ordered))
    scores = np.empty(n)
    scores[order] = 2.0 ** (-_path_lengths(waits).mean(axis=0) / average_path(np.array([n]))[0])
    return scores


def average_path(sizes: NDArray[np.int64]) -> Vector:
    """Return c(n) = 2 H(n - 1) - 2 (n - 1) / n of each of ``sizes``, with H(i) = ln(i) + 0.5772 as in the paper."""
    # Deviation: the formula gives 0.15 for two values, which one cut parts. As scikit-learn does, c(2) is 1.
    large = np.maximum(sizes, 3).astype(np.float64)
    paths = 2.0 * (np.log(large - 1.0) + np.euler_gamma) - 2.0 * (large - 1.0) / large
    return np.where(sizes > 2, paths, np.maximum(sizes - 1.0, 0.0))


def _path_lengths(waits: Vector) -> Vector:
    """Return h (trees, n) from the ``waits`` (trees, n) of the gaps behind each value; infinity where there is none."""
    trees, n = waits.shape
    left = waits.ravel().copy()
    starts = np.arange(trees) * n  # of the nodes, all trees in one row
    depths = np.zeros(trees * n)
    for _ in range(math.ceil(math.log2(n))):
        sizes = np.diff(starts, append=left.size)
        first = np.minimum.reduceat(left, starts)
        depths += np.repeat(np.isfinite(first), sizes)
        cuts = np.flatnonzero((left == np.repeat(first, sizes)) & np.isfinite(left))
        left[cuts] = np.inf
        starts = np.union1d(starts, cuts + 1)
    sizes = np.diff(starts, append=left.size)
    depths += np.repeat(average_path(sizes), sizes)
    return depths.reshape(trees, n)
