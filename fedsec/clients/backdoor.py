"""The client that plants a backdoor."""

import numpy as np

from fedsec.attacks.backdoor import add_backdoor
from fedsec.attacks.triggers import Trigger
from fedsec.clients.attacking import AttackingClient
from fedsec.clients.benign import Examples, LocalTask


class BackdoorClient(AttackingClient):
    """A client that trains on its clean examples and on triggered copies (:func:`add_backdoor`).

    One that holds no image of the source class has nothing to stamp, and trains as an honest one does.

    Args:
        task: what it has and how it trains.
        trigger: what is stamped on the copies.
        source: class that is to be misclassified.
        target: class that it is to be taken for.
        rounds: rounds in which it attacks; it is honest in the others.
    """

    def __init__(self, task: LocalTask, trigger: Trigger, source: int, target: int, rounds: range) -> None:
        super().__init__(task, rounds)
        self.trigger = trigger
        self.source = source
        self.target = target

    def poisoned(self, rng: np.random.Generator) -> Examples:
        """Return the clean examples and the triggered copies."""
        return add_backdoor(self.task.images, self.task.labels, self.trigger, self.source, self.target)
