"""Trimmed mean.  Yin et al., *Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates*,
ICML 2018, definition 2.

The thesis on GAN balancing (section 2.3.4) describes another rule under the same name: whole updates are
ranked by the sum of their distances to all others, and those with the highest sums are removed.
"""

import math

import numpy as np

from fedsec.defenses.blocks import map_blocks
from fedsec.defenses.krum import Distance, krum_scores
from fedsec.defenses.mean import weighted_sum
from fedsec.defenses.updates import OptionError, RoundUpdates, TooFewClientsError, Vector, Verdict

BLOCK = 1 << 13

COUNTED_COORDINATES = 1 << 18
"""How many coordinates are looked at, at most, to tell whose values were kept. Wider matrices are sampled evenly."""


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
    n, d = updates.deltas.shape
    trimmed = number_trimmed(n, trim_ratio, sides=2)
    result = np.empty(d, np.float32)
    counted_every = -(-d // COUNTED_COORDINATES)

    def trim_block(block: slice) -> Vector | None:
        values = np.array(updates.deltas[:, block].T, order="C")
        counted = (block.start // BLOCK) % counted_every == 0
        original = values.copy() if counted else None
        values.sort(axis=1)
        kept = values[:, trimmed : n - trimmed]
        result[block] = kept.mean(axis=1, dtype=np.float64)
        if original is None:
            return None
        inside = (original >= kept[:, :1]) & (original <= kept[:, -1:])
        count: Vector = inside.sum(axis=0, dtype=np.float64)
        return count

    counts = [count for count in map_blocks(trim_block, (n, d), BLOCK) if count is not None]
    kept_values = np.sum(counts, axis=0)
    coordinates = sum(min(BLOCK, d - start) for start in range(0, d, BLOCK * counted_every))
    return Verdict(result, kept_values / kept_values.sum(), 1.0 - kept_values / coordinates)


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
