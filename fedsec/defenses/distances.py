"""Inner products, distances and cosines between all pairs of updates: blocked, and exact where it matters.

A Gram matrix of raw weights in float32 picks the wrong client near convergence, because the distances are
tiny beside the norms. So: updates instead of weights, and float64 products. Only where rows are so long that
the rounding errors of many float32 blocks average out, and no two of them are nearly parallel, float32 products
of short blocks are summed in float64 instead, at half the time.
"""

import numpy as np

from fedsec.defenses.blocks import sum_blocks
from fedsec.defenses.updates import Matrix, Vector

BLOCK = 2048
"""Columns in a block: short enough for the float32 sums inside, and fits a core's second-level cache."""

LONG = 1 << 20
"""From this many columns on, the rounding errors of the float32 blocks average out to the eighth digit."""

SAFE_COSINE = 0.8
"""Above this cosine between two rows, float32 blocks would lose the seventh digit of their distance."""


def gram_matrix(rows: Matrix) -> Vector:
    """Return the inner products of all pairs of ``rows`` (n, d) as (n, n) float64.

    Squared distances derived from it (:func:`squared_distances`) have a relative error below 1e-7 for rows that
    are at least a thousandth of their norm apart. For rows of :data:`LONG` columns and more that is so where the
    magnitudes differ, as those of trained updates do; where all are equal (sign updates) the rounding errors of
    float32 have one sign, and the error stays below 1e-6.
    """
    if rows.shape[1] < LONG:
        return _blocked_gram(rows, np.float64)
    gram = _blocked_gram(rows, np.float32)
    norms = np.sqrt(np.diag(gram))
    parallel = gram > SAFE_COSINE * np.outer(norms, norms)
    return _blocked_gram(rows, np.float64) if parallel.sum() > np.count_nonzero(norms) else gram


def squared_distances(gram: Vector) -> Vector:
    """Return squared Euclidean distances (n, n) from a Gram matrix; the diagonal is exactly zero."""
    norms = np.diag(gram)
    distances = norms[:, None] + norms[None, :] - 2.0 * gram
    np.fill_diagonal(distances, 0.0)
    positive: Vector = np.maximum(distances, 0.0)
    return positive


def pairwise_squared_distances(rows: Matrix) -> Vector:
    """Return the squared Euclidean distances between all pairs of ``rows`` (n, d) as (n, n) float64."""
    return squared_distances(gram_matrix(rows))


def cosine_distances(gram: Vector) -> Vector:
    """Return 1 - cosine (n, n) from a Gram matrix; a zero vector is at distance 1 from every other one."""
    norms = np.sqrt(np.diag(gram))
    scale = np.outer(norms, norms)
    # 1 - cos(a, b) = (|a - b|^2 - (|a| - |b|)^2) / (2 |a| |b|), which keeps its digits when a is almost b.
    excess = squared_distances(gram) - (norms[:, None] - norms[None, :]) ** 2
    distances = np.divide(excess, 2.0 * scale, out=np.ones_like(gram), where=scale > 0.0)
    np.fill_diagonal(distances, 0.0)
    clipped: Vector = np.clip(distances, 0.0, 2.0)
    return clipped


def row_norms(rows: Matrix) -> Vector:
    """Return the L2 norm of each of ``rows`` (n, d) as (n,), summed in float64."""

    def block_squares(block: slice) -> Vector:
        part = rows[:, block].astype(np.float64)
        squares: Vector = np.einsum("ij,ij->i", part, part)
        return squares

    norms: Vector = np.sqrt(sum_blocks(block_squares, rows.shape, BLOCK))
    return norms


def inner_products(rows: Matrix, vector: Vector) -> Vector:
    """Return ``rows @ vector`` for ``rows`` (n, d) and ``vector`` (d,) as (n,), summed in float64."""

    def block_products(block: slice) -> Vector:
        products: Vector = rows[:, block].astype(np.float64) @ vector[block].astype(np.float64)
        return products

    return sum_blocks(block_products, rows.shape, BLOCK)


def _blocked_gram(rows: Matrix, dtype: type[np.float32] | type[np.float64]) -> Vector:
    def block_gram(block: slice) -> Vector:
        part = rows[:, block] if dtype == np.float32 else rows[:, block].astype(np.float64)
        products: Vector = (part @ part.T).astype(np.float64)
        return products

    return sum_blocks(block_gram, rows.shape, BLOCK)
