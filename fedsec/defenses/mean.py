"""Plain averaging.  McMahan et al., *Communication-Efficient Learning of Deep Networks from Decentralized
Data*, AISTATS 2017.  arXiv:1602.05629
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fedsec.defenses.blocks import LONG, LONG_BLOCK, map_blocks
from fedsec.defenses.updates import IntVector, Matrix, RoundUpdates, Vector, Verdict, check_choice

Weighting = Literal["equal", "examples"]
AddBlock = Callable[[Matrix, IntVector, NDArray[np.float32], NDArray[np.float32], float, slice], None]

BLOCK = 1 << 15


def mean(updates: RoundUpdates, *, weighting: Weighting = "equal") -> Verdict:
    """Average the updates; nobody is suspected, so all scores are 0.

    Args:
        updates: the round's updates, n >= 1.
        weighting: ``"equal"`` gives each client 1/n; ``"examples"`` gives each the share of the examples
            that it *claims* (the paper's n_k / n, which a client can lie about).

    Raises:
        OptionError: ``weighting`` is another word.
    """
    check_choice("weighting", weighting, get_args(Weighting))
    n = len(updates)
    shares = updates.num_examples if weighting == "examples" else np.ones(n)
    weights = shares / shares.sum()
    return Verdict(weighted_sum(updates.deltas, weights), weights, np.zeros(n))


def weighted_sum(
    rows: Matrix, weights: Vector, onto: NDArray[np.float32] | None = None, scale: float = 1.0
) -> NDArray[np.float32]:
    """Return sum_i weights[i] * rows[i] as (d,) float32, for ``rows`` (n, d); rows of weight 0 are not read.

    With ``onto`` (d,), ``scale`` times that is added, and the result takes its place in memory.
    """
    used = np.flatnonzero(weights)
    factors = weights[used].astype(np.float32)
    total = np.zeros(rows.shape[1], np.float32) if onto is None else onto
    factor = 0.0 if onto is None else scale
    add_block, width = _block_adder(rows.shape[1], len(used))
    shape = (max(len(used), 1), rows.shape[1])
    map_blocks(lambda block: add_block(rows, used, factors, total, factor, block), shape, width)
    return total


def _block_adder(columns: int, used: int) -> tuple[AddBlock, int]:
    """Return what adds up a block of columns, and how many columns it is to get."""
    if columns >= LONG and used > 1:
        with suppress(ImportError):  # where numba is missing
            from fedsec.defenses.compiled_products import add_weighted_rows

            return add_weighted_rows, LONG_BLOCK
    return _add_weighted_rows, BLOCK


def _add_weighted_rows(
    rows: Matrix, used: IntVector, factors: NDArray[np.float32], total: NDArray[np.float32], scale: float, block: slice
) -> None:
    """Set a block of ``total`` (d,) to ``scale`` times itself plus the sum of ``factors[i] * rows[used[i]]``."""
    to = total[block]
    added = to if scale == 0.0 else np.empty_like(to)
    if len(used) == 1:
        np.multiply(rows[used[0], block], factors[0], out=added)
    else:
        np.dot(factors, rows[:, block] if len(used) == len(rows) else rows[used, block], out=added)
    if scale != 0.0:
        to *= np.float32(scale)
        to += added
