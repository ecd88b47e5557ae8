"""How skewed a client's classes are, and what fills them.  Thesis on GAN balancing, sections 4.4 and 5.1.4."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Fill = Literal["largest", "mean"]
Counts = NDArray[np.int64]


def skew(counts: Counts) -> float:
    """Return how far the classes are from even: the total variation distance of their shares to 1 / C.

    Args:
        counts: (C,) number of examples of each class.

    Returns:
        0 for even classes, 1 - 1 / C for one class only; 0 without examples.
    """
    total = int(counts.sum())
    if total == 0:
        return 0.0
    return float(np.abs(counts / total - 1 / len(counts)).sum() / 2)


def missing(counts: Counts, fill: Fill | int) -> Counts:
    """Return how many images each class (C,) lacks; 0 for a class that has none.

    A class without any image stays empty, whatever fills the others: nothing that the client holds tells of it.

    The thesis leaves open how far a class is filled. The cost of a round grows with it: at q = 0.9 and ten classes,
    filling to the largest makes nine times the examples, filling to the mean 1.8 times.

    Args:
        counts: (C,) number of examples of each class.
        fill: ``"largest"``, up to the client's largest class; ``"mean"``, up to the mean over all C classes, rounded
            to the nearest; or a number of examples.
    """
    if counts.sum() == 0:
        return np.zeros_like(counts)
    goals = {"largest": int(counts.max()), "mean": round(float(counts.mean()))}
    goal = goals[fill] if isinstance(fill, str) else fill
    return np.where(counts > 0, np.maximum(goal - counts, 0), 0)
