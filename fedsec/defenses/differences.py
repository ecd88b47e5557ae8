"""Inner products of long rows in one float32 pass, without losing the digits of small distances.

Updates late in a training point nearly the same way: their distances are small beside their norms, and float32 loses
the digits of whatever is small beside something else. So a row that lies close to another one enters the products as
its difference to that one, its *parent*; the products of the rows themselves follow from those of the differences.

A reference that everybody is compared with, a mean say, could be thrown far off by one attacker. Here a row gets a
parent only where that makes it shorter, so a row that is far from all others moves nobody. Who is close to whom is
told by a sample of the columns, which an attacker may know. The products tell what the sample could not:
:attr:`Products.doubt` says for which pairs too many digits may be lost all the same.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedsec.defenses.blocks import BLAS_BLOCK, LONG_BLOCK, single_blas, sum_blocks
from fedsec.defenses.updates import IntVector, Matrix, Vector

RUNS, RUN = 64, 64
"""The sample of columns: how many runs, and how many columns in each; memory is not read one number at a time."""

SHORTER = 0.5
"""A row gets a parent where its squared distance to it is below this share of its own squared length."""


@dataclass(frozen=True, slots=True)
class Products:
    """Inner products of rows.

    Attributes:
        gram: (n, n) inner products of all pairs.
        along: (n,) inner products with the vector that was asked about, or zeros.
        lengths: (n,) the squared lengths of the differences that a row's own is made of, summed.
        doubt: (n, n) the same for the squared distance of a pair; float32 leaves it an error of about 1e-8 of this.
    """

    gram: Vector
    along: Vector
    lengths: Vector
    doubt: Vector


def products_of_differences(rows: Matrix, vector: Vector | None) -> Products:
    """Return the inner products of ``rows`` (n, d) with one another and with ``vector`` (d,).

    Products beyond the range of float32 come out as infinity or NaN, those below it as zero.
    """
    n = len(rows)
    with single_blas(), np.errstate(over="ignore", invalid="ignore"):
        parents = nearest_parents(sample(rows))
        paths = _paths(parents)
        sums = _summed(rows, parents, vector)
        upper = np.triu(sums[:, :n])
        between = upper + np.triu(upper, 1).T
        gram = paths @ between @ paths.T
        on_the_way = paths * np.diag(between)
        lengths, shared = on_the_way.sum(axis=1), on_the_way @ paths.T
        doubt = lengths[:, None] + lengths[None, :] - 2.0 * shared
        return Products((gram + gram.T) / 2.0, paths @ sums[:, n], lengths, doubt)


def sample(rows: Matrix) -> Vector:
    """Return evenly spread columns of ``rows`` (n, d) as float64, at most 4096 of them."""
    columns = rows.shape[1]
    if columns <= RUNS * RUN:
        return rows.astype(np.float64)
    starts = np.linspace(0, columns - RUN, RUNS).astype(int)
    return np.concatenate([rows[:, start : start + RUN].astype(np.float64) for start in starts], axis=1)


def nearest_parents(rows: Vector) -> IntVector:
    """Return for each of ``rows`` (n, d) the row that it is close to, or -1.

    Rows of one parent (at first, of none) are siblings. The sibling that most of the others are close to becomes
    their parent, again and again, until no row is close to a sibling: then the differences to the parents of any two
    siblings are not nearly parallel. No row becomes its own ancestor, as only siblings become parents.
    """
    gram = rows @ rows.T
    lengths = np.diag(gram).copy()
    squared = lengths[:, None] + lengths[None, :] - 2.0 * gram
    np.fill_diagonal(squared, np.inf)
    parents = np.full(len(rows), -1)
    while True:
        close = (squared < SHORTER * lengths) & (parents[:, None] == parents)
        parent = close.sum(axis=1).argmax()
        if not close[parent].any():
            return parents
        parents[close[parent]] = parent
        lengths[close[parent]] = squared[parent, close[parent]]


def _paths(parents: IntVector) -> Vector:
    """Return (n, n) which rows' differences add up to each row: its own, its parent's, and so on; 1 or 0."""
    paths = np.eye(len(parents))
    for path, parent in zip(paths, parents, strict=True):
        ancestor = parent
        while ancestor >= 0:
            path[ancestor] = 1.0
            ancestor = parents[ancestor]
    return paths


def _summed(rows: Matrix, parents: IntVector, vector: Vector | None) -> Vector:
    """Return the sums of :func:`block_products` over all columns, compiled where numba is there."""
    try:
        from fedsec.defenses.compiled_products import block_products
    except ImportError:
        return sum_blocks(lambda block: _blas_products(rows, parents, vector, block), rows.shape, BLAS_BLOCK)
    return sum_blocks(lambda block: block_products(rows, parents, vector, block), rows.shape, LONG_BLOCK)


def _blas_products(rows: Matrix, parents: IntVector, vector: Vector | None, block: slice) -> Vector:
    """Return what the compiled kernel does, by a BLAS library."""
    moved = np.flatnonzero(parents >= 0)
    part: NDArray[np.float32] = rows[:, block]
    if len(moved):
        part = part.copy()
        part[moved] -= rows[parents[moved], block]
    along = np.zeros(len(rows)) if vector is None else part @ vector[block].astype(np.float32)
    return np.column_stack(((part @ part.T).astype(np.float64), along))
