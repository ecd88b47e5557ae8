"""Plain averaging.  McMahan et al., *Communication-Efficient Learning of Deep Networks from Decentralized
Data*, AISTATS 2017.  arXiv:1602.05629
"""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fedsec.defenses.blocks import map_blocks
from fedsec.defenses.updates import Matrix, RoundUpdates, Vector, Verdict, check_choice

Weighting = Literal["equal", "examples"]

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


def weighted_sum(rows: Matrix, weights: Vector) -> NDArray[np.float32]:
    """Return sum_i weights[i] * rows[i] as (d,) float32, for ``rows`` (n, d); rows of weight 0 are not read."""
    used = np.flatnonzero(weights)
    total = np.zeros(rows.shape[1], np.float32)
    if len(used) == 1:
        np.multiply(rows[used[0]], np.float32(weights[used[0]]), out=total)
        return total
    factors = weights[used].astype(np.float32)
    every_row = len(used) == len(rows)

    def add_block(block: slice) -> None:
        part = rows[:, block] if every_row else rows[used, block]
        np.dot(factors, part, out=total[block])

    if len(used):
        map_blocks(add_block, (len(used), rows.shape[1]), BLOCK)
    return total
