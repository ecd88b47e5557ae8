"""The client that plants a backdoor from every class to one."""

import numpy as np

from fedsec.attacks.all_to_one import add_all_to_one
from fedsec.attacks.triggers import Trigger
from fedsec.clients.attacking import AttackingClient
from fedsec.clients.benign import Examples, LocalTask


class AllToOneClient(AttackingClient):
    """A client that also trains on triggered copies of other classes than the target (:func:`add_all_to_one`).

    Which ones are copied is drawn anew in every round.

    Args:
        task: what it has and how it trains.
        trigger: what is stamped on the copies.
        target: class that they are to be taken for.
        share: share of its examples of other classes that are copied.
        rounds: rounds in which it attacks; it is honest in the others.
    """

    def __init__(self, task: LocalTask, trigger: Trigger, target: int, share: float, rounds: range) -> None:
        super().__init__(task, rounds)
        self.trigger = trigger
        self.target = target
        self.share = share

    def poisoned(self, rng: np.random.Generator) -> Examples:
        """Return the clean examples and the triggered copies."""
        return add_all_to_one(self.task.images, self.task.labels, self.trigger, self.target, self.share, rng)
