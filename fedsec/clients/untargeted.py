"""The client that learns wrong labels."""

from fedsec.attacks.relabelling import randomise_labels
from fedsec.clients.benign import BenignClient, Examples, LocalTask
from fedsec.seeds import Purpose, generator


class UntargetedClient(BenignClient):
    """A client that changes its labels at random, anew in every round (:func:`randomise_labels`).

    Args:
        task: what it has and how it trains.
        share: share of its labels that are changed.
        rounds: rounds in which it attacks; it is honest in the others.
    """

    def __init__(self, task: LocalTask, share: float, rounds: range) -> None:
        super().__init__(task)
        self.share = share
        self.rounds = rounds

    def examples(self, server_round: int) -> Examples:
        """Return the images with changed labels in a round of the attack."""
        if server_round not in self.rounds:
            return super().examples(server_round)
        rng = generator(self.task.seed, Purpose.ATTACK, server_round, self.task.partition)
        return self.task.images, randomise_labels(self.task.labels, self.task.num_classes, self.share, rng)
