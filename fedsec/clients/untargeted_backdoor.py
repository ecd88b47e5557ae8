"""The client that plants a backdoor of random labels."""

from fedsec.attacks.triggers import Trigger
from fedsec.attacks.untargeted_backdoor import add_untargeted_backdoor
from fedsec.clients.benign import BenignClient, Examples, LocalTask
from fedsec.seeds import Purpose, generator


class UntargetedBackdoorClient(BenignClient):
    """A client that also trains on triggered copies with random labels (:func:`add_untargeted_backdoor`).

    Copies and labels are drawn anew in every round.

    Args:
        task: what it has and how it trains.
        trigger: what is stamped on the copies.
        share: share of its examples that are copied.
        rounds: rounds in which it attacks; it is honest in the others.
    """

    def __init__(self, task: LocalTask, trigger: Trigger, share: float, rounds: range) -> None:
        super().__init__(task)
        self.trigger = trigger
        self.share = share
        self.rounds = rounds

    def examples(self, server_round: int) -> Examples:
        """Return the clean examples, and the triggered copies in a round of the attack."""
        if server_round not in self.rounds:
            return super().examples(server_round)
        task = self.task
        rng = generator(task.seed, Purpose.ATTACK, server_round, task.partition)
        return add_untargeted_backdoor(task.images, task.labels, self.trigger, task.num_classes, self.share, rng)
