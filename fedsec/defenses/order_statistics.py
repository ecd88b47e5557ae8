"""The mean of the values in the middle of each coordinate, which is what a trimmed mean and a median are.

A selection network finds them for many coordinates at once: in large matrices compiled by numba, in small ones by
comparisons of whole rows. Where there is no numba, or where a network would be too large, columns are sorted; the
means then differ in the last bit of a float64 sum at most.
"""

from collections.abc import Callable
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from fedsec.defenses import blocks
from fedsec.defenses.selection_network import Network, selection_network
from fedsec.defenses.updates import IntVector, Matrix, Vector

BLOCK = 1 << 13

COUNTED_COORDINATES = 1 << 18
"""How many coordinates are looked at, at most, to tell whose values were chosen. Wider matrices are sampled evenly."""

MOST_CLIENTS = 1 << 10
"""The values of more clients than this are sorted: to make a network for them would take longer than it saves."""

FEW_CLIENTS = 32
"""Without compiled code, so many are compared row by row: to sort so short columns takes up to four times as long."""

SIZE_WITH_EVERY_PATTERN = (60, 12, 48)
"""n, first and stop of a network that has a group of every pattern, to try compiled code on."""

Averages = NDArray[np.float32]
Worker = Callable[[slice, Averages, IntVector], None]
"""Puts the averages of a block of columns into a vector (d,) and adds to the counts (n,), unless their length is 0."""


def middle_mean(rows: Matrix, first: int, stop: int) -> tuple[Averages, Vector]:
    """Average the values of ranks ``first`` to ``stop`` - 1 in each column of ``rows`` (n, d); ranks begin at 0.

    Returns:
        the averages, (d,) float32, summed in float64; and the shares of :func:`share_between`.
    """
    averages = np.empty(rows.shape[1], np.float32)
    return averages, _walk(rows, first, stop, averages)


def share_between(rows: Matrix, first: int, stop: int) -> Vector:
    """Return the share (n,) of each row's values that lie from its column's value of rank ``first`` to ``stop`` - 1.

    They are counted on at most 2**18 evenly spread columns. A value equal to the lowest or highest lies between.
    """
    return _walk(rows, first, stop, np.empty(0, np.float32))


def _walk(rows: Matrix, first: int, stop: int, averages: Averages) -> Vector:
    n, d = rows.shape
    every = max(1, -(-d // COUNTED_COORDINATES))
    work = _worker(rows, first, stop)

    def walk_block(block: slice) -> IntVector | None:
        counted = (block.start // BLOCK) % every == 0
        counts = np.zeros(n if counted else 0, np.int64)
        if counted or len(averages):
            work(block, averages, counts)
        return counts if counted else None

    counts = [count for count in blocks.map_blocks(walk_block, (n, d), BLOCK) if count is not None]
    columns = sum(min(BLOCK, d - start) for start in range(0, d, BLOCK * every))
    shares: Vector = np.sum(counts, axis=0) / columns
    return shares


def _worker(rows: Matrix, first: int, stop: int) -> Worker:
    """Return what does a block of columns of this matrix."""
    n, d = rows.shape
    row, item = rows.strides
    each_in_one_piece = rows.dtype == np.float32 and item == rows.itemsize and row >= d * item and row % item == 0
    # One round of fewer elements takes 30 ms at most, and numba's import ten times as long.
    if rows.size >= blocks.SMALL and n <= MOST_CLIENTS and each_in_one_piece:
        compiled = _compiled()
        if compiled is not None:
            return compiled(rows, selection_network(n, first, stop))
    if n <= FEW_CLIENTS:
        return partial(_by_rows, rows, selection_network(n, first, stop))
    return partial(_by_sorting, rows, first, stop)


@cache
def _compiled() -> Callable[[Matrix, Network], Worker] | None:
    """Return what makes a worker of compiled code; ``None`` where there is no numba, or none that works here."""
    try:
        from fedsec.defenses.compiled_selection import compiled_worker

        return compiled_worker if _agrees(compiled_worker) else None
    except Exception:  # an import, a compilation, a cache: each fails in ways of its own, and sorting needs none
        return None


def _agrees(compiled_worker: Callable[[Matrix, Network], Worker]) -> bool:
    """Tell whether the compiled code finds what sorting finds; what an older version left in a cache might not."""
    n, first, stop = SIZE_WITH_EVERY_PATTERN
    rows = np.random.default_rng(0).standard_normal((n, 100), dtype=np.float32)
    means, counts = np.zeros((2, 100), np.float32), np.zeros((2, n), np.int64)
    compiled_worker(rows, selection_network(n, first, stop))(slice(0, 100), means[0], counts[0])
    _by_sorting(rows, first, stop, slice(0, 100), means[1], counts[1])
    return np.array_equal(counts[0], counts[1]) and np.allclose(means[0], means[1], rtol=1e-6, atol=1e-7)


def _by_rows(rows: Matrix, network: Network, block: slice, averages: Averages, counts: IntVector) -> None:
    sent = rows[:, block]
    wires = list(np.array(sent, order="C"))
    spare = np.empty_like(wires[0])
    for low, high in network.comparators():
        smaller = np.minimum(wires[low], wires[high], out=spare)
        np.maximum(wires[low], wires[high], out=wires[high])
        wires[low], spare = smaller, wires[low]
    chosen = wires[network.first : network.stop]
    if len(averages):
        total = np.zeros(len(spare))
        for values in chosen:
            total += values
        averages[block] = total / len(chosen)
    if len(counts):
        counts += ((sent >= np.minimum.reduce(chosen)) & (sent <= np.maximum.reduce(chosen))).sum(axis=1)


def _by_sorting(rows: Matrix, first: int, stop: int, block: slice, averages: Averages, counts: IntVector) -> None:
    columns = np.array(rows[:, block].T, order="C")
    sent = columns.copy() if len(counts) else columns
    columns.sort(axis=1)
    chosen = columns[:, first:stop]
    if len(averages):
        averages[block] = chosen.mean(axis=1, dtype=np.float64)
    if len(counts):
        counts += ((sent >= chosen[:, :1]) & (sent <= chosen[:, -1:])).sum(axis=0)
