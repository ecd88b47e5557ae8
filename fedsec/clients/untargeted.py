"""The client that learns wrong labels."""

import numpy as np

from fedsec.attacks.relabelling import randomise_labels
from fedsec.clients.attacking import AttackingClient
from fedsec.clients.benign import Examples, LocalTask


class UntargetedClient(AttackingClient):
    """A client that changes its labels at random, anew in every round (:func:`randomise_labels`).

    Args:
        task: what it has and how it trains.
        share: share of its labels that are changed.
        rounds: rounds in which it attacks; it is honest in the others.
    """

    def __init__(self, task: LocalTask, share: float, rounds: range) -> None:
        super().__init__(task, rounds)
        self.share = share

    def poisoned(self, rng: np.random.Generator) -> Examples:
        """Return the images with changed labels."""
        return self.task.images, randomise_labels(self.task.labels, self.task.num_classes, self.share, rng)
