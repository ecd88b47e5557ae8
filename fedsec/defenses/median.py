"""Coordinate-wise median.  Yin et al., *Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates*,
ICML 2018, definition 1.
"""

from fedsec.defenses.order_statistics import middle_mean, share_between
from fedsec.defenses.updates import RoundUpdates, Verdict


def coordinate_median(updates: RoundUpdates) -> Verdict:
    """Take the median of each coordinate; of an even number of clients, the mean of the two values in the middle.

    A client has no single weight here. ``weights`` are its share of the values in the middle. ``scores`` are the share
    of its values outside the quartiles, which are among the floor((n + 1) / 4) lowest or highest: about a half where
    clients are alike, 1 for one that is far away everywhere, and 0 for all of less than three. Both are counted on at
    most 2**18 evenly spread coordinates; a value that equals one in the middle counts as such, and one that equals a
    quartile is not outside.

    Args:
        updates: the round's updates, n >= 1.
    """
    n = len(updates)
    delta, in_the_middle = middle_mean(updates.deltas, (n - 1) // 2, n // 2 + 1)
    outer = (n + 1) // 4
    scores = 1.0 - share_between(updates.deltas, outer, n - outer)
    return Verdict(delta, in_the_middle / in_the_middle.sum(), scores)
