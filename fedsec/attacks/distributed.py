"""The distributed backdoor.  Xie et al., *DBA: Distributed Backdoor Attacks against Federated Learning*, ICLR 2020."""

from dataclasses import replace

import numpy as np

from fedsec.attacks.triggers import Trigger

PARTS = 4
"""Into how many parts a trigger is cut, as in the paper."""


def part_of(trigger: Trigger, rank: int) -> Trigger:
    """Return the part of ``trigger`` that the attacker of this ``rank`` stamps; what is measured is the whole.

    The parts are the quarters of the square that the trigger covers, row by row. Attackers take them in turn: that of
    rank r, from 0, has part r modulo :data:`PARTS`. With fewer attackers than parts some are never stamped, as in the
    paper where an attacker is not sampled.

    Deviation: the paper's parts are bars with gaps between them, whose size and distance it varies. Quarters need no
    more options than the patch that they make up, so that both are compared at the same size.

    Args:
        trigger: the whole.
        rank: of the attacker among all of them.

    Raises:
        ValueError: the trigger is too small to be cut.
    """
    rows, columns = np.flatnonzero(trigger.mask.any(1)), np.flatnonzero(trigger.mask.any(0))
    if min(len(rows), len(columns)) < 2:
        raise ValueError(f"a trigger of {len(rows)} x {len(columns)} pixels cannot be cut into {PARTS} parts")
    below, right = divmod(rank % PARTS, 2)
    quarter = np.zeros_like(trigger.mask)
    quarter[np.ix_(np.array_split(rows, 2)[below], np.array_split(columns, 2)[right])] = True
    return replace(trigger, mask=trigger.mask & quarter)
