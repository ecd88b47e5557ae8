"""The client that plants a backdoor from every class to one."""

from fedsec.attacks.all_to_one import add_all_to_one
from fedsec.attacks.triggers import Trigger
from fedsec.clients.benign import BenignClient, Examples, LocalTask
from fedsec.seeds import Purpose, generator


class AllToOneClient(BenignClient):
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
        super().__init__(task)
        self.trigger = trigger
        self.target = target
        self.share = share
        self.rounds = rounds

    def examples(self, server_round: int) -> Examples:
        """Return the clean examples, and the triggered copies in a round of the attack."""
        if server_round not in self.rounds:
            return super().examples(server_round)
        task = self.task
        rng = generator(task.seed, Purpose.ATTACK, server_round, task.partition)
        return add_all_to_one(task.images, task.labels, self.trigger, self.target, self.share, rng)
