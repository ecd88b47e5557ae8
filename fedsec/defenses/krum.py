"""Krum and multi-Krum.  Blanchard et al., *Machine Learning with Adversaries: Byzantine Tolerant Gradient
Descent*, NeurIPS 2017, section 4.

The thesis on GAN balancing (section 2.3.3) describes another rule under the same name: the sum of the plain
distances to *all* clients. ``neighbours`` and ``distance`` choose; its tables use ``"all"`` and ``"euclidean"``.
"""

from typing import Literal, get_args

import numpy as np

from fedsec.defenses.distances import pairwise_squared_distances
from fedsec.defenses.mean import weighted_sum
from fedsec.defenses.updates import (
    Matrix,
    OptionError,
    RoundUpdates,
    TooFewClientsError,
    Vector,
    Verdict,
    check_choice,
    check_whole,
)

Neighbours = Literal["nearest", "all"]
Distance = Literal["squared", "euclidean"]


def krum(
    updates: RoundUpdates,
    num_malicious: int | None = None,
    *,
    neighbours: Neighbours = "nearest",
    distance: Distance = "squared",
) -> Verdict:
    """Take the one update with the lowest score; the first of equals.

    Args:
        updates: the round's updates.
        num_malicious: f, the malicious clients to expect; needed for ``neighbours="nearest"`` only.
        neighbours: whose distances a score sums, see :func:`krum_scores`.
        distance: ``"squared"`` (the paper) or ``"euclidean"``.

    Raises:
        OptionError: ``num_malicious`` is negative, or missing where it is needed.
        TooFewClientsError: n < 2f + 3 with ``neighbours="nearest"``.
    """
    scores = krum_scores(updates.deltas, num_malicious, neighbours=neighbours, distance=distance)
    return _average_of_lowest(updates.deltas, scores, 1)


def multi_krum(
    updates: RoundUpdates,
    num_malicious: int,
    num_selected: int | None = None,
    *,
    distance: Distance = "squared",
) -> Verdict:
    """Average the ``num_selected`` updates with the lowest Krum scores (Blanchard et al., section 5).

    Args:
        updates: the round's updates.
        num_malicious: f, the malicious clients to expect.
        num_selected: m of the paper, 1 to n (1 is Krum, n is the mean); ``None`` takes n - f.
        distance: ``"squared"`` (the paper) or ``"euclidean"``.

    Raises:
        OptionError: ``num_malicious`` is negative, or ``num_selected`` is below 1.
        TooFewClientsError: n < 2f + 3, or n < m.
    """
    scores = krum_scores(updates.deltas, num_malicious, distance=distance)
    selected = len(updates) - num_malicious if num_selected is None else num_selected
    if selected < 1:
        raise OptionError("num_selected", f"num_selected must be at least 1; got {num_selected}.")
    if selected > len(updates):
        raise TooFewClientsError("num_selected", f"multi-Krum is to select {selected} clients; got n={len(updates)}.")
    return _average_of_lowest(updates.deltas, scores, selected)


def krum_scores(
    rows: Matrix,
    num_malicious: int | None = None,
    *,
    neighbours: Neighbours = "nearest",
    distance: Distance = "squared",
) -> Vector:
    """Return each row's Krum score (n,): the sum of its distances to other rows of ``rows`` (n, d).

    ``"nearest"`` sums over the n - f - 2 nearest others (Blanchard et al., section 4); ``"all"`` over all
    others (the thesis), which makes the winner the medoid and needs no f.
    """
    n = len(rows)
    check_krum_options(num_malicious, neighbours, distance)
    if neighbours == "nearest" and num_malicious is not None and n < 2 * num_malicious + 3:
        raise TooFewClientsError(
            "num_malicious",
            f"Krum needs n >= 2 * num_malicious + 3 clients; got n={n} and num_malicious={num_malicious}.",
        )
    distances = pairwise_squared_distances(rows)
    if distance == "euclidean":
        distances = np.sqrt(distances)
    if neighbours == "all" or num_malicious is None:
        summed = n
    else:
        np.fill_diagonal(distances, np.inf)
        summed = n - num_malicious - 2
    # Sorted before they are summed, so that a score does not depend on the order of the clients.
    scores: Vector = np.sort(distances, axis=1)[:, :summed].sum(axis=1)
    return scores


def check_krum_options(num_malicious: int | None, neighbours: Neighbours, distance: Distance) -> None:
    """Raise :class:`OptionError` for a word that Krum does not know, or an f that is missing or makes no sense."""
    check_choice("neighbours", neighbours, get_args(Neighbours))
    check_choice("distance", distance, get_args(Distance))
    if neighbours == "nearest" and num_malicious is None:
        raise OptionError("num_malicious", "missing; Krum must be told how many malicious clients to expect.")
    if num_malicious is not None:
        check_whole("num_malicious", num_malicious, at_least=0)


def _average_of_lowest(rows: Matrix, scores: Vector, count: int) -> Verdict:
    weights = np.zeros(len(rows))
    weights[np.argsort(scores, kind="stable")[:count]] = 1.0 / count
    return Verdict(weighted_sum(rows, weights), weights, scores)
