"""Norms of updates, and distances and cosines between all pairs of them: blocked, and exact where it matters.

A Gram matrix of raw weights in float32 picks the wrong client near convergence, because the distances are tiny
beside the norms. So: updates instead of weights, and float64 products. Only rows of :data:`LONG` columns and more are
multiplied in float32, several times as fast (:mod:`fedsec.defenses.differences`): the rounding errors of so many
short sums average out, and the few pairs for which they might not are multiplied again in float64.
"""

from dataclasses import dataclass

import numpy as np

from fedsec.defenses.blocks import BLAS_BLOCK, LONG, LONG_BLOCK, sum_blocks
from fedsec.defenses.differences import Products, products_of_differences
from fedsec.defenses.updates import BoolVector, IntVector, Matrix, Vector

SAFE_SHARE = 0.2
"""A squared distance below this share of what it was made of in float32 is taken again: between rows of equal length
and without parents, that is a cosine above 0.8."""

SAFE_COSINE_SHARE = 0.01
"""The same for 1 - cosine, which need not be known to as many digits."""

LEAST = 1e-22
"""Mean square of a row's values from which on squares of differences that are left after rounding fit float32."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a round's updates lie to one another: all that its rules need, from one pass over them.

    Attributes:
        squared_norms: (n,) squared L2 norms.
        squared_distances: (n, n) squared Euclidean distances between all pairs.
        cosine_distances: (n, n) 1 - cosine between all pairs.
        products: (n,) inner products with the vector that was asked about; zeros where none was.
    """

    squared_norms: Vector
    squared_distances: Vector
    cosine_distances: Vector
    products: Vector


def geometry(rows: Matrix, vector: Vector | None = None) -> Geometry:
    """Return how ``rows`` (n, d) lie to one another and to ``vector`` (d,).

    Squared distances have a relative error below 1e-7 for rows that are at least a thousandth of their norm apart.
    Where all values of long rows have one magnitude, as after sign compression, float32's rounding errors have one
    sign, and 2e-6 was measured. Rows of fewer than :data:`LONG` columns are as exact as float64 makes them.
    """
    if rows.shape[1] < LONG:
        along = np.zeros(len(rows)) if vector is None else inner_products(rows, vector)
        return _from_gram(gram_matrix(rows), along)
    products = products_of_differences(rows, vector)
    if not _usable(products):
        return _from_gram(gram_matrix(rows), products.along if vector is None else inner_products(rows, vector))
    found = _from_gram(products.gram, products.along)
    doubtful = np.flatnonzero(_doubtful(found, products, rows.shape[1]))
    if len(doubtful):
        exact, pairs = _from_gram(gram_matrix(rows, doubtful), found.products), np.ix_(doubtful, doubtful)
        found.squared_norms[doubtful] = exact.squared_norms
        found.squared_distances[pairs] = exact.squared_distances
        found.cosine_distances[pairs] = exact.cosine_distances
    return found


def gram_matrix(rows: Matrix, members: IntVector | slice = slice(None)) -> Vector:
    """Return the inner products of all pairs of ``members`` among ``rows`` (n, d) as (n, n), in float64."""

    def block_gram(block: slice) -> Vector:
        part = rows[members, block].astype(np.float64)
        products: Vector = part @ part.T
        return products

    return sum_blocks(block_gram, rows.shape, BLAS_BLOCK)


def squared_distances(gram: Vector) -> Vector:
    """Return squared Euclidean distances (n, n) from a Gram matrix; the diagonal is exactly zero."""
    norms = np.diag(gram)
    distances = norms[:, None] + norms[None, :] - 2.0 * gram
    np.fill_diagonal(distances, 0.0)
    positive: Vector = np.maximum(distances, 0.0)
    return positive


def pairwise_squared_distances(rows: Matrix) -> Vector:
    """Return the squared Euclidean distances between all pairs of ``rows`` (n, d) as (n, n) float64."""
    return geometry(rows).squared_distances


def cosine_distances(gram: Vector) -> Vector:
    """Return 1 - cosine (n, n) from a Gram matrix; a zero vector is at distance 1 from every other one."""
    norms = np.sqrt(np.diag(gram))
    scale = np.outer(norms, norms)
    distances = 1.0 - np.divide(gram, scale, out=np.zeros_like(gram), where=scale > 0.0)
    np.fill_diagonal(distances, 0.0)
    clipped: Vector = np.clip(distances, 0.0, 2.0)
    return clipped


def row_norms(rows: Matrix) -> Vector:
    """Return the L2 norm of each of ``rows`` (n, d) as (n,); long ones are multiplied in float32 as in ``geometry``."""
    try:
        squares = _long_squared_norms(rows) if rows.shape[1] >= LONG else _squared_norms(rows)
    except ImportError:  # where numba is missing
        squares = _squared_norms(rows)
    return np.sqrt(squares)


def inner_products(rows: Matrix, vector: Vector) -> Vector:
    """Return ``rows @ vector`` for ``rows`` (n, d) and ``vector`` (d,) as (n,), summed in float64."""

    def block_products(block: slice) -> Vector:
        products: Vector = rows[:, block].astype(np.float64) @ vector[block].astype(np.float64)
        return products

    return sum_blocks(block_products, rows.shape, BLAS_BLOCK)


def squared_norm(vector: Vector) -> float:
    """Return the squared L2 norm of ``vector`` (d,), the same whatever the number of threads."""
    return float(sum_blocks(lambda block: np.dot(vector[block], vector[block]), (1, len(vector)), len(vector)))


def _from_gram(gram: Vector, products: Vector) -> Geometry:
    return Geometry(np.diag(gram).copy(), squared_distances(gram), cosine_distances(gram), products)


def _usable(products: Products) -> bool:
    """Return whether all products fit float32, and no row came out as the small rest of long differences."""
    squares = np.diag(products.gram)
    return bool(np.isfinite(products.gram).all() and (squares >= SAFE_SHARE * products.lengths).all())


def _doubtful(found: Geometry, products: Products, columns: int) -> BoolVector:
    """Return which rows (n,) are in a pair that may have lost too many digits in float32, or are short of its range."""
    norms = np.sqrt(found.squared_norms)
    scale = np.outer(norms, norms)
    near = found.squared_distances < SAFE_SHARE * products.doubt
    # |a| |b| - <a, b>, that is |a| |b| (1 - cos), is made of no more than the distance is, and of no more than |a| |b|.
    parallel = scale * found.cosine_distances < SAFE_COSINE_SHARE * np.minimum(products.doubt / 2.0, scale)
    doubtful: BoolVector = (near | parallel).any(axis=1) | (found.squared_norms < LEAST * columns)
    return doubtful


def _squared_norms(rows: Matrix, members: IntVector | slice = slice(None)) -> Vector:
    def block_squares(block: slice) -> Vector:
        part = rows[members, block].astype(np.float64)
        squares: Vector = np.einsum("ij,ij->i", part, part)
        return squares

    return sum_blocks(block_squares, rows.shape, BLAS_BLOCK)


def _long_squared_norms(rows: Matrix) -> Vector:
    from fedsec.defenses.compiled_products import block_squares

    squares = sum_blocks(lambda block: block_squares(rows, block), rows.shape, LONG_BLOCK)
    outside = np.flatnonzero(~np.isfinite(squares) | (squares < LEAST * rows.shape[1]))
    if len(outside):  # of what float32 can hold
        squares[outside] = _squared_norms(rows, outside)
    return squares
