"""The adversary that rebuilds another client's private class.

Section III.C of the paper on adversarial attacks with GANs on federated learning (``experiments/gan_reconstruction``);
Hitaj, Ateniese and Perez-Cruz, *Deep Models Under the GAN*, CCS 2017.  arXiv:1702.07464
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from flwr.common import NDArrays, Scalar
from numpy.typing import NDArray

from fedsec.attacks.reconstruction import begins, misled
from fedsec.clients.benign import BenignClient, Fitted, LocalTask, round_of
from fedsec.clients.state import ClientState
from fedsec.metrics.classification import main_task_accuracy
from fedsec.seeds import Purpose, derived_seed, generator
from fedsec.training.batches import on_device
from fedsec.training.classifier import train_classifier
from fedsec.training.evaluation import predict
from fedsec.training.parameters import set_arrays
from fedsec.training.pictures import write_picture
from fedsec.training.reconstruction import (
    Forger,
    ReconstructionSettings,
    StateMismatchError,
    forge,
    from_arrays,
    new_forger,
    to_arrays,
    train_forger,
)
from fedsec.training.threads import one_thread

PICTURES = "generated"
"""Folder of the pictures, beside the states."""


@dataclass(frozen=True, slots=True)
class Adversary:
    """What the adversary knows and wants, beside what every client has.

    Attributes:
        settings: of its attack.
        rounds: in which it may attack.
        images: (M, C, H, W) uint8 test images, by whose accuracy it begins; everybody has them.
        labels: (M,) their classes.
        state: folder of what clients keep between rounds.
    """

    settings: ReconstructionSettings
    rounds: range
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    state: Path


class ReconstructionClient(BenignClient):
    """A client that takes the global model for the discriminator of a generator, and poisons it with what that makes.

    It holds no example. The paper does not say what it sends before it begins: here it sends back what it was sent,
    claims as many examples as it will when it attacks, and reports the model's loss on the test images, so that no
    server can tell it by a reply that is missing. Generator and optimiser are on its disk: a round is a function of the
    model that was sent, the state of before the round, and the seed. What it rebuilds it keeps for itself: a picture of
    each round lies beside its states, and no message has any of it.

    Args:
        task: what it has and how it trains; its own images are not looked at.
        adversary: what it knows and wants.
    """

    def __init__(self, task: LocalTask, adversary: Adversary) -> None:
        super().__init__(task)
        self.adversary = adversary

    def fit(self, parameters: NDArrays, config: dict[str, Scalar]) -> Fitted:
        """Return a model that takes generated images for the extra class; before the attack, what was sent."""
        server_round, settings = round_of(config), self.adversary.settings
        set_arrays(self.task.model, parameters)
        state = ClientState.of(self.adversary.state, str(config.get("run", "")), self.task.partition)
        kept, lost = state.before(server_round) if server_round in self.adversary.rounds else ({}, "")
        if not kept and not lost:  # it has not begun yet
            accuracy, loss = self._measured()
            if server_round not in self.adversary.rounds or not begins(accuracy, settings.start_accuracy):
                return self.get_parameters({}), settings.fakes, {"loss": loss}
        forger = self._forger(kept)
        noise, chosen, order = self._draws(server_round)
        with one_thread():
            train_forger(forger, self.task.model, settings, noise)
            fakes = forge(forger, settings.fakes, chosen)
            labels = misled(len(fakes), self.task.num_classes)
            loss = train_classifier(
                self.task.model,
                *on_device(fakes, labels, self.task.device),
                self.task.normalise,
                self.task.settings,
                order,
            )
        self._keep_picture(state, server_round, fakes)
        state.save(server_round, to_arrays(forger))
        return self.get_parameters({}), len(fakes), {"loss": loss}

    def evaluate(self, parameters: NDArrays, config: dict[str, Scalar]) -> tuple[float, int, dict[str, Scalar]]:
        """Return loss and accuracy of ``parameters`` on the test images: it has no others."""
        set_arrays(self.task.model, parameters)
        accuracy, loss = self._measured()
        return loss, len(self.adversary.labels), {"accuracy": 100.0 * accuracy}

    def _measured(self) -> tuple[float, float]:
        """Return accuracy (0 to 1) and loss of the model on the test images."""
        task, labels = self.task, self.adversary.labels
        with one_thread():
            predicted, loss = predict(
                task.model, *on_device(self.adversary.images, labels, task.device), task.normalise
            )
        return main_task_accuracy(predicted, labels) / 100.0, loss

    def _forger(self, kept: dict[str, NDArray[np.generic]]) -> Forger:
        """Return the generator as it was kept; one that is new where nothing was, or what does not fit."""
        task, rate = self.task, self.adversary.settings.learning_rate
        seed = derived_seed(task.seed, Purpose.ATTACK, 0, task.partition)
        forger = new_forger(self.adversary.images.shape[1:], rate, seed, task.device)
        if kept:
            try:
                from_arrays(forger, kept)
            except StateMismatchError:  # of another run of that name: it begins anew
                return new_forger(self.adversary.images.shape[1:], rate, seed, task.device)
        return forger

    def _draws(self, server_round: int) -> list[torch.Generator]:
        """Return a round's generators: of the noise to train on, of the fakes' noise, of the order of the fakes."""
        seeds = generator(self.task.seed, Purpose.ATTACK, server_round, self.task.partition)
        return [torch.Generator().manual_seed(int(seed)) for seed in seeds.integers(2**63 - 1, size=3)]

    def _keep_picture(self, state: ClientState, server_round: int, images: NDArray[np.uint8]) -> None:
        """Write the first 64 of a round's images as one, and forget those of rounds that are done again."""
        folder = state.folder / PICTURES
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("[0-9]*.png"):
            if path.stem.isdigit() and int(path.stem) > server_round:
                path.unlink(missing_ok=True)
        write_picture(images, folder / f"{server_round:06}.png")
