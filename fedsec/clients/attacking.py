"""What clients share that train on poisoned examples."""

from abc import ABC, abstractmethod

import numpy as np

from fedsec.clients.benign import BenignClient, Examples, LocalTask
from fedsec.seeds import Purpose, generator


class AttackingClient(BenignClient, ABC):
    """A client that trains on what an attack makes of its examples; a subclass is its constructor and :meth:`poisoned`.

    Args:
        task: what it has and how it trains.
        rounds: rounds in which it attacks; it is honest in the others.
    """

    def __init__(self, task: LocalTask, rounds: range) -> None:
        super().__init__(task)
        self.rounds = rounds

    @abstractmethod
    def poisoned(self, rng: np.random.Generator) -> Examples:
        """Return what it trains on in a round of the attack.

        Args:
            rng: of every draw of that round.
        """

    def examples(self, server_round: int) -> Examples:
        """Return the clean examples, or in a round of the attack the poisoned ones."""
        if server_round not in self.rounds:
            return super().examples(server_round)
        return self.poisoned(generator(self.task.seed, Purpose.ATTACK, server_round, self.task.partition))
