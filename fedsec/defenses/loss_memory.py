"""What the loss forest keeps of each client between rounds."""

from dataclasses import dataclass

import numpy as np

from fedsec.defenses.updates import IntVector, NodeIds, Vector


@dataclass(frozen=True, slots=True)
class LossMemory:
    """What is known of the clients from the rounds before; before the first it is :meth:`empty`.

    Attributes:
        node_ids: (k,) everybody who was ever judged, ascending.
        counts: (k,) c, how often each was flagged.
        log_weights: (k,) ln(N w), 0 for a client that was never flagged. The logarithm, as 0.9^(1 + 2 + ... + 119) is
            below any float64; times N, as only the ratios of weights matter, and so nobody has to know N.
        losses: (k,) the loss of each that was judged last, smoothed; NaN where there was none.
        rounds: t, the number of rounds so far.
    """

    node_ids: NodeIds
    counts: IntVector
    log_weights: Vector
    losses: Vector
    rounds: int = 0

    @classmethod
    def empty(cls) -> "LossMemory":
        """Return the memory before the first round."""
        return cls(np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0), np.empty(0))

    def of(self, node_ids: NodeIds) -> "LossMemory":
        """Return what is known of these clients (n,), in their order; a newcomer is as one that was never flagged."""
        n = len(node_ids)
        counts, log_weights, losses = np.zeros(n, np.int64), np.zeros(n), np.full(n, np.nan)
        _, here, there = np.intersect1d(node_ids, self.node_ids, return_indices=True)
        counts[here], log_weights[here], losses[here] = self.counts[there], self.log_weights[there], self.losses[there]
        return LossMemory(node_ids, counts, log_weights, losses, self.rounds)

    def updated(self, by: "LossMemory") -> "LossMemory":
        """Return this memory with the clients of ``by`` as they are there; the absent ones keep what they have."""
        absent = ~np.isin(self.node_ids, by.node_ids)
        order = np.argsort(np.concatenate([self.node_ids[absent], by.node_ids]))
        return LossMemory(
            np.concatenate([self.node_ids[absent], by.node_ids])[order],
            np.concatenate([self.counts[absent], by.counts])[order],
            np.concatenate([self.log_weights[absent], by.log_weights])[order],
            np.concatenate([self.losses[absent], by.losses])[order],
            by.rounds,
        )
