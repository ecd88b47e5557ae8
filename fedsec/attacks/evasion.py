"""Who knows the defense: a poisoned update that stays within the spread of honest ones.

Bhagoji et al., *Analyzing Federated Learning through an Adversarial Lens*, ICML 2019, keep a poisoned
model near an honest one by a penalty on their distance; Bagdasaryan et al., *How To Backdoor Federated Learning*,
AISTATS 2020 (constrain-and-scale) weigh such a loss against that of the backdoor; Sun et al., *Can You
Really Backdoor Federated Learning?*, 2019, bound the norm of the update. Here the attacker does both.

Deviation: Bhagoji et al. take the last round's mean update for the honest one. Here the attacker trains an honest model
of its own from the same start, on its clean examples: it has them, and is nearer to what it would have sent.

:mod:`fedsec.training.proximal` has the penalty; here is the bound.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Sequence[NDArray[Any]]


def no_longer_than(start: Arrays, poisoned: Arrays, honest: Arrays, parameters: Sequence[bool]) -> list[NDArray[Any]]:
    """Return ``poisoned`` with its update scaled down to the L2 norm of the honest one; as it is where it is shorter.

    start + c * (poisoned - start), where c = min(1, ||honest - start|| / ||poisoned - start||).

    Args:
        start: arrays of the model that both were trained from.
        poisoned: of the poisoned model; they are not changed.
        honest: of the honest one.
        parameters: which of the arrays are trained. The norms are of these, for they are what defenses look at;
            statistics of floats are scaled with them, and counters stay as the poisoned model has them.
    """
    factor = min(1.0, _ratio(_norm(start, honest, parameters), _norm(start, poisoned, parameters)))
    if factor == 1.0:
        return [array.copy() for array in poisoned]
    return [
        (before + factor * (after - before)).astype(after.dtype) if after.dtype.kind == "f" else after.copy()
        for before, after in zip(start, poisoned, strict=True)
    ]


def _norm(start: Arrays, end: Arrays, counted: Sequence[bool]) -> float:
    """Return the L2 norm of an update over the arrays that are counted."""
    moved = zip(start, end, counted, strict=True)
    return math.sqrt(sum(float(np.sum(np.square(np.subtract(b, a, dtype=float)))) for a, b, counts in moved if counts))


def _ratio(honest: float, poisoned: float) -> float:
    return honest / poisoned if poisoned > 0.0 else 1.0
