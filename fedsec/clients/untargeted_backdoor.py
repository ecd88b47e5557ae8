"""The client that plants a backdoor of random labels."""

import numpy as np

from fedsec.attacks.triggers import Trigger
from fedsec.attacks.untargeted_backdoor import add_untargeted_backdoor
from fedsec.clients.attacking import AttackingClient
from fedsec.clients.benign import Examples, LocalTask


class UntargetedBackdoorClient(AttackingClient):
    """A client that also trains on triggered copies with random labels (:func:`add_untargeted_backdoor`).

    Copies and labels are drawn anew in every round.

    Args:
        task: what it has and how it trains.
        trigger: what is stamped on the copies.
        share: share of its examples that are copied.
        rounds: rounds in which it attacks; it is honest in the others.
    """

    def __init__(self, task: LocalTask, trigger: Trigger, share: float, rounds: range) -> None:
        super().__init__(task, rounds)
        self.trigger = trigger
        self.share = share

    def poisoned(self, rng: np.random.Generator) -> Examples:
        """Return the clean examples and the triggered copies."""
        task = self.task
        return add_untargeted_backdoor(task.images, task.labels, self.trigger, task.num_classes, self.share, rng)
