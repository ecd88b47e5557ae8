"""Trimmed mean.  Yin et al., *Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates*,
ICML 2018, definition 2.

The thesis on GAN balancing (section 2.3.4) describes another rule under the same name: whole updates are
ranked by the sum of their distances to all others, and those with the highest sums are removed.
"""

import math

import numpy as np

from fedsec.defenses.krum import Distance, krum_scores
from fedsec.defenses.mean import weighted_sum
from fedsec.defenses.order_statistics import middle_mean
from fedsec.defenses.updates import OptionError, RoundUpdates, TooFewClientsError, Verdict


def trimmed_mean(updates: RoundUpdates, trim_ratio: float) -> Verdict:
    """Average each coordinate without its k = floor(trim_ratio * n) largest and k smallest values.

    A client has no single weight here. ``weights`` are its share of the kept values, ``scores`` the share of
    its values that were trimmed, both counted on at most 2**18 evenly spread coordinates; a value that equals the
    lowest or highest one kept counts as kept.

    Args:
        updates: the round's updates.
        trim_ratio: beta of the paper, in (0, 0.5); at least the share of malicious clients.

    Raises:
        TooFewClientsError: the ratio trims nobody or everybody among n clients.
    """
    n = len(updates)
    trimmed = number_trimmed(n, trim_ratio, sides=2)
    delta, kept = middle_mean(updates.deltas, trimmed, n - trimmed)
    return Verdict(delta, kept / kept.sum(), 1.0 - kept)


def trim_by_distance(updates: RoundUpdates, trim_ratio: float, *, distance: Distance = "euclidean") -> Verdict:
    """Remove the floor(trim_ratio * n) updates with the highest sums of distances to all others; average the rest.

    Args:
        updates: the round's updates.
        trim_ratio: beta of the thesis, in (0, 1); its experiments use 0.5.
        distance: ``"euclidean"`` (the thesis) or ``"squared"``.

    Raises:
        TooFewClientsError: the ratio trims nobody or everybody among n clients.
    """
    n = len(updates)
    kept = n - number_trimmed(n, trim_ratio, sides=1)
    scores = krum_scores(updates.deltas, neighbours="all", distance=distance)
    weights = np.zeros(n)
    weights[np.argsort(scores, kind="stable")[:kept]] = 1.0 / kept
    return Verdict(weighted_sum(updates.deltas, weights), weights, scores)


def number_trimmed(n: int, trim_ratio: float, *, sides: int) -> int:
    """Return floor(trim_ratio * n), the number trimmed from each of ``sides`` sides.

    Raises:
        OptionError: the ratio is no ratio.
        TooFewClientsError: that is nobody, or leaves nobody.
    """
    if not 0.0 < trim_ratio < 1.0:
        raise OptionError("trim_ratio", f"trim_ratio must lie between 0 and 1; got {trim_ratio}.")
    # The smallest excess keeps 0.29 * 100 = 28.999999999999996 from trimming 28.
    trimmed = math.floor(trim_ratio * n + 1e-9)
    if trimmed < 1 or sides * trimmed >= n:
        raise TooFewClientsError(
            "trim_ratio",
            f"trim_ratio={trim_ratio} removes {trimmed} of {n} clients"
            f"{' from each side' if sides == 2 else ''}; at least one must be removed and one must remain.",
        )
    return trimmed
