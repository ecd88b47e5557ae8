"""Which images of a test set a server may train on: its public data, on which nothing is measured."""

import numpy as np
from numpy.typing import NDArray


def public_indices(labels: NDArray[np.int64], number: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return which examples are public, ascending: as many of each class as there are, evenly.

    Args:
        labels: (N,) class of every example.
        number: how many; a class that has fewer than its share gives all of its examples, and others more.
        rng: draws them.
    """
    order = rng.permutation(len(labels))
    ranks = np.empty(len(labels), np.int64)  # of each example within its class, in a random order
    for label in np.unique(labels):
        of_class = order[labels[order] == label]
        ranks[of_class] = np.arange(len(of_class))
    return np.sort(order[np.argsort(ranks[order], kind="stable")][:number])
