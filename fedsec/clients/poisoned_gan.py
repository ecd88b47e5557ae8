"""The malicious client of the federated GAN.

Jin and Li, *Backdoor Attack is a Devil in Federated GAN-based Medical Image Synthesis*, 2022, sections 2.2 and 3.2.
arXiv:2207.00762
"""

from typing import Literal

from flwr.common import NDArrays

from fedsec.attacks.stamping import stamp_all
from fedsec.attacks.triggers import Trigger
from fedsec.clients.fedgan import FedGanClient, GanTask, LocalRound, train_round
from fedsec.training.federated_gan_state import Arrays

ReportedLoss = Literal["true", "honest-looking"]

HONEST = "honest/"
"""Begins the names of what a liar's honest copy keeps."""


class PoisonedGanClient(FedGanClient):
    """A client that trains on images with a trigger, every one of them (:func:`stamp_all`).

    One that lies about its losses reports those that it would have as an honest client. It knows them because it is
    one besides: its honest copy starts every round of the attack from the same generator, on the clean images, with a
    discriminator and moments of its own. No rule that looks at losses alone can tell the two apart. It costs a second
    training. (Against a discriminator of clean images its poisoned generator does worse than an honest one, so
    reporting that would give it away.)

    Args:
        task: what it has and how it trains; the images are clean.
        trigger: what is stamped on them.
        rounds: rounds in which it attacks; it is honest in the others.
        reported_loss: ``"true"``, what it measured; ``"honest-looking"``, its honest copy's.
    """

    def __init__(self, task: GanTask, trigger: Trigger, rounds: range, reported_loss: ReportedLoss = "true") -> None:
        super().__init__(task)
        self.trigger = trigger
        self.rounds = rounds
        self.reported_loss = reported_loss

    def local_round(self, parameters: NDArrays, kept: Arrays, server_round: int) -> LocalRound:
        """Return what comes of training on stamped images in a round of the attack."""
        own, honest = _split(kept)
        if server_round not in self.rounds:
            return super().local_round(parameters, own, server_round)
        stamped = stamp_all(self.task.images, self.trigger)
        done = train_round(self.task, stamped, parameters, own, server_round)
        if self.reported_loss == "true":
            return done
        # In the first round of the attack the copy starts from what the client, honest so far, has kept.
        copy = train_round(self.task, self.task.images, parameters, honest or own, server_round)
        both = done.kept | {HONEST + name: array for name, array in copy.kept.items()}
        return LocalRound(done.arrays, copy.losses, both, done.note or copy.note)

    def judging(self, kept: Arrays) -> Arrays:
        """Return the state of the honest copy where there is one: a liar lies about this loss too."""
        own, honest = _split(kept)
        return honest or own


def _split(kept: Arrays) -> tuple[Arrays, Arrays]:
    """Return what a client keeps for itself, and what its honest copy keeps."""
    own = {name: array for name, array in kept.items() if not name.startswith(HONEST)}
    return own, {name.removeprefix(HONEST): array for name, array in kept.items() if name.startswith(HONEST)}
