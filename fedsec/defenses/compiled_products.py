"""Kernels for long rows, compiled by numba for the processor it runs on: inner products, norms, weighted sums.

A BLAS library copies what it multiplies into an order of its own, which costs it most of its speed where one side
of the matrix is as short as the number of clients. Here blocks of columns are copied once, as they are, and
multiplied four rows by four, so that the sums stay in registers. That is close to what the processor can do.

Importing this module imports numba, which takes a while; those who need it do so for long rows only, and go without
where numba is missing.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from fedsec.defenses.updates import IntVector, Matrix, Vector

SIDE = 4
"""Rows on each side of a tile: its 16 sums fit a processor's vector registers, with room for the eight rows."""

COLUMNS = 1024
"""Columns in a tile: eight rows of it fit a core's first-level cache, and all rows its second."""

LINE = 64
"""Bytes of a cache line. A vector that lies across two of them takes twice as long to load."""

RUN = 8192
"""Columns of one row that are read in one go for a weighted sum: long runs are what memory is fastest at."""

AT_ONCE = 8
"""Rows that are added in one go: each is read by the processor ahead of its use, all at the same time."""

# The order of a sum is the compiler's; it is the same for the same processor, whatever the number of threads.
FAST = {"reassoc", "contract", "nsz"}


def block_products(
    rows: Matrix, parents: IntVector, vector: Vector | NDArray[np.float32] | None, block: slice
) -> Vector:
    """Return what a block of columns adds to the inner products of differences between rows.

    Row i stands for ``rows[i] - rows[parents[i]]``, or for itself where its parent is -1. Products are summed in
    float32 over 64 columns a lane of a vector, and in float64 from there on.

    Args:
        rows: (n, d).
        parents: (n,).
        vector: (d,), whose products with the differences are wanted too, or ``None``.
        block: the columns.

    Returns:
        (n, n + 1): the upper triangle of the products with one another (what is below is not filled in), and those
        with ``vector`` in the last column.
    """
    n = len(rows)
    padded = -(-n // SIDE) * SIDE
    tile = _aligned(padded + 1, COLUMNS + LINE // 4)  # a line more, lest all rows compete for one place in the cache
    total = np.zeros((padded, padded + 1))
    sought = np.zeros(0, np.float32) if vector is None else vector
    _add_products(rows, parents, sought, block.start, block.stop, tile, total)
    return np.column_stack((total[:n, :n], total[:n, padded]))


def block_squares(rows: Matrix, block: slice) -> Vector:
    """Return what a block of columns adds to the squared norms of ``rows`` (n, d) as (n,), summed as products are."""
    total = np.zeros(len(rows))
    _add_squares(rows, block.start, block.stop, total)
    return total


def add_weighted_rows(
    rows: Matrix, used: IntVector, factors: NDArray[np.float32], total: NDArray[np.float32], scale: float, block: slice
) -> None:
    """Set a block of ``total`` (d,) to ``scale`` times itself plus the sum of ``factors[i] * rows[used[i]]``."""
    missing = -len(used) % AT_ONCE
    # The last row again, times zero: it is in the cache by then.
    used = np.concatenate((used, np.repeat(used[-1:], missing)))
    factors = np.concatenate((factors, np.zeros(missing, np.float32)))
    _add_rows(rows, used, factors, total, np.float32(scale), block.start, block.stop)


def _aligned(rows: int, columns: int) -> NDArray[np.float32]:
    """Return an array of unset values that begins at a cache line."""
    raw = np.empty(rows * columns + LINE // 4, np.float32)
    first = -raw.ctypes.data % LINE // 4
    return raw[first : first + rows * columns].reshape(rows, columns)


@njit(nogil=True, fastmath=FAST)
def _add_products(rows, parents, vector, start, stop, tile, total):  # type: ignore[no-untyped-def]
    padded = total.shape[0]
    none = np.zeros(COLUMNS, np.float32)
    for first in range(start, stop, COLUMNS):
        last = min(first + COLUMNS, stop)
        for i in range(0, padded, SIDE):
            _copy_differences(rows, parents, none, first, last, tile, i)
        for i in range(0, padded, SIDE):
            for j in range(i, padded, SIDE):
                _multiply(tile, i, j, total)
        if len(vector):
            tile[padded, : last - first] = vector[first:last]
            tile[padded, last - first : COLUMNS] = 0.0
            for i in range(padded):
                product = np.float32(0.0)
                for c in range(COLUMNS):
                    product += tile[i, c] * tile[padded, c]
                total[i, padded] += product


@njit(nogil=True, fastmath=FAST)
def _copy_differences(rows, parents, none, start, stop, tile, i):  # type: ignore[no-untyped-def]
    # Four rows in step, so that four are on their way from memory at once. Beyond the last row, it comes again.
    n, width = len(rows), stop - start
    i0, i1, i2, i3 = min(i, n - 1), min(i + 1, n - 1), min(i + 2, n - 1), min(i + 3, n - 1)
    from0, from1 = rows[i0][start:stop], rows[i1][start:stop]
    from2, from3 = rows[i2][start:stop], rows[i3][start:stop]
    less0 = rows[parents[i0]][start:stop] if parents[i0] >= 0 else none[:width]
    less1 = rows[parents[i1]][start:stop] if parents[i1] >= 0 else none[:width]
    less2 = rows[parents[i2]][start:stop] if parents[i2] >= 0 else none[:width]
    less3 = rows[parents[i3]][start:stop] if parents[i3] >= 0 else none[:width]
    to0, to1, to2, to3 = tile[i], tile[i + 1], tile[i + 2], tile[i + 3]
    for c in range(width):
        to0[c] = from0[c] - less0[c]
        to1[c] = from1[c] - less1[c]
        to2[c] = from2[c] - less2[c]
        to3[c] = from3[c] - less3[c]
    tile[i : i + 4, width:COLUMNS] = 0.0


@njit(nogil=True, fastmath=FAST)
def _multiply(tile, i, j, total):  # type: ignore[no-untyped-def]
    s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = np.float32(0.0)
    s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = np.float32(0.0)
    for c in range(COLUMNS):
        a0, a1, a2, a3 = tile[i, c], tile[i + 1, c], tile[i + 2, c], tile[i + 3, c]
        b0, b1, b2, b3 = tile[j, c], tile[j + 1, c], tile[j + 2, c], tile[j + 3, c]
        s00, s01, s02, s03 = s00 + a0 * b0, s01 + a0 * b1, s02 + a0 * b2, s03 + a0 * b3
        s10, s11, s12, s13 = s10 + a1 * b0, s11 + a1 * b1, s12 + a1 * b2, s13 + a1 * b3
        s20, s21, s22, s23 = s20 + a2 * b0, s21 + a2 * b1, s22 + a2 * b2, s23 + a2 * b3
        s30, s31, s32, s33 = s30 + a3 * b0, s31 + a3 * b1, s32 + a3 * b2, s33 + a3 * b3
    sums = ((s00, s01, s02, s03), (s10, s11, s12, s13), (s20, s21, s22, s23), (s30, s31, s32, s33))
    for a in range(SIDE):
        for b in range(SIDE):
            total[i + a, j + b] += sums[a][b]


@njit(nogil=True, fastmath=FAST)
def _add_squares(rows, start, stop, total):  # type: ignore[no-untyped-def]
    for i in range(len(rows)):
        for first in range(start, stop, COLUMNS):
            row = rows[i][first : min(first + COLUMNS, stop)]
            square = np.float32(0.0)
            for c in range(len(row)):
                square += row[c] * row[c]
            total[i] += square


@njit(nogil=True, fastmath=FAST)
def _add_rows(rows, used, factors, total, scale, start, stop):  # type: ignore[no-untyped-def]
    for first in range(start, stop, RUN):
        last = min(first + RUN, stop)
        to = total[first:last]
        for c in range(last - first):
            to[c] *= scale
        for i in range(0, len(used), AT_ONCE):
            r0, r1 = rows[used[i]][first:last], rows[used[i + 1]][first:last]
            r2, r3 = rows[used[i + 2]][first:last], rows[used[i + 3]][first:last]
            r4, r5 = rows[used[i + 4]][first:last], rows[used[i + 5]][first:last]
            r6, r7 = rows[used[i + 6]][first:last], rows[used[i + 7]][first:last]
            f0, f1, f2, f3 = factors[i], factors[i + 1], factors[i + 2], factors[i + 3]
            f4, f5, f6, f7 = factors[i + 4], factors[i + 5], factors[i + 6], factors[i + 7]
            for c in range(last - first):
                former = (f0 * r0[c] + f1 * r1[c]) + (f2 * r2[c] + f3 * r3[c])
                latter = (f4 * r4[c] + f5 * r5[c]) + (f6 * r6[c] + f7 * r7[c])
                to[c] += former + latter
