"""The honest client of the federated GAN: it exchanges the generator, and keeps the discriminator.

Jin and Li, *Backdoor Attack is a Devil in Federated GAN-based Medical Image Synthesis*, 2022.  arXiv:2207.00762
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from flwr.client import NumPyClient
from flwr.common import NDArrays, Scalar
from numpy.typing import NDArray
from torch import nn

from fedsec.clients.benign import Fitted, round_of
from fedsec.clients.state import ClientState
from fedsec.models.drawing import drawn_from
from fedsec.seeds import Purpose, derived_seed, generator
from fedsec.training.federated_gan import (
    FederatedGanSettings,
    LocalLosses,
    loss_of_generator,
    new_local_pair,
    train_locally,
)
from fedsec.training.federated_gan_pair import LocalPair
from fedsec.training.federated_gan_state import Arrays, StateMismatchError, from_arrays, to_arrays
from fedsec.training.parameters import get_arrays, set_arrays
from fedsec.training.threads import one_thread

Images = NDArray[np.uint8]

BEFORE = 0
"""The round whose seed draws a discriminator's first weights: before the server's first, which is 1."""


@dataclass(frozen=True, slots=True)
class GanTask:
    """What a client of the federated GAN has and how it trains.

    Attributes:
        generator: the network that is exchanged; its weights are replaced in every call.
        discriminator: makes the client's own network; its weights are drawn from ``seed`` and ``partition``.
        latent: length of the generator's noise.
        images: (N, C, H, W) uint8, what the client trains on.
        settings: loss, epochs, batch size, step size.
        seed: seed of the run.
        partition: which partition the client holds; with the round it decides every random draw.
        device: where to train.
        state: folder of what clients keep between rounds.
        note: what the client has to say with its next reply.
    """

    generator: nn.Module
    discriminator: Callable[[], nn.Module]
    latent: int
    images: Images
    settings: FederatedGanSettings
    seed: int
    partition: int
    device: torch.device
    state: Path
    note: str = ""


@dataclass(frozen=True, slots=True)
class LocalRound:
    """What came of a client's round: the generator's arrays, its losses, what to keep, and what to tell of it."""

    arrays: NDArrays
    losses: LocalLosses
    kept: Arrays
    note: str


class FedGanClient(NumPyClient):
    """A client that trains the generator it is sent against its own discriminator, and reports the generator's loss.

    What it keeps is on its disk: a round is a function of the generator that was sent, the state of before the round,
    and the seed. One that was killed in the middle, or is done again, ends with the same numbers.

    Args:
        task: what it has and how it trains.
    """

    def __init__(self, task: GanTask) -> None:
        super().__init__()
        self.task = task

    def get_parameters(self, config: dict[str, Scalar]) -> NDArrays:
        """Return the generator's arrays, in the order of its state dict."""
        return list(get_arrays(self.task.generator).values())

    def fit(self, parameters: NDArrays, config: dict[str, Scalar]) -> Fitted:
        """Train from ``parameters``; return the new ones, the number of examples, and both networks' losses.

        A client without examples returns what it was sent and says that it has none.

        Raises:
            GanFailedError: the training diverged; the state stays that of before the round.
        """
        task, server_round = self.task, round_of(config)
        if len(task.images) == 0:
            set_arrays(task.generator, parameters)
            nothing = LocalLosses(float("nan"), float("nan"), 0)
            return self.get_parameters({}), 0, _told(nothing, task.note)
        state = self._state(config)
        kept, note = state.before(server_round)
        done = self.local_round(parameters, kept, server_round)
        state.save(server_round, done.kept)
        missing = "" if kept or note or server_round <= 1 else "it kept nothing of an earlier round"
        return done.arrays, len(task.images), _told(done.losses, task.note, note or missing or done.note)

    def local_round(self, parameters: NDArrays, kept: Arrays, server_round: int) -> LocalRound:
        """Return what comes of a round that starts with ``parameters`` and ``kept``. What an attacker does is here."""
        return train_round(self.task, self.task.images, parameters, kept, server_round)

    def evaluate(self, parameters: NDArrays, config: dict[str, Scalar]) -> tuple[float, int, dict[str, Scalar]]:
        """Return the loss of the generator ``parameters`` against the client's own discriminator.

        It is measured on as many generated images as the client has. A client that has no discriminator yet, or no
        images, says so by a count of 0.
        """
        server_round = round_of(config)
        kept, note = self._state(config).before(server_round + 1)
        if not kept or len(self.task.images) == 0:
            return 0.0, 0, {"note": note} if note else {}
        *_, draws = _generators(self.task, server_round)
        pair, note = restored_pair(self.task, parameters, self.judging(kept), draws)
        if note:
            return 0.0, 0, {"note": note}
        with one_thread():
            return loss_of_generator(pair, len(self.task.images)), len(self.task.images), {}

    def judging(self, kept: Arrays) -> Arrays:
        """Return the state whose discriminator evaluates."""
        return kept

    def _state(self, config: dict[str, Scalar]) -> ClientState:
        return ClientState.of(self.task.state, str(config.get("run", "")), self.task.partition)


def train_round(
    task: GanTask, images: Images, parameters: NDArrays, kept: Mapping[str, NDArray[np.generic]], server_round: int
) -> LocalRound:
    """Train a client's pair for one round.

    Args:
        task: what the client has; its own images are not looked at.
        images: (N, C, H, W) uint8, at least one.
        parameters: the generator's arrays, as the server sent them.
        kept: what the client kept; with nothing, or what does not fit, the discriminator starts afresh.
        server_round: with the seed and the partition it decides every random draw.
    """
    order, draws, _ = _generators(task, server_round)
    pair, note = restored_pair(task, parameters, kept, draws)
    with one_thread():
        losses = train_locally(pair, torch.from_numpy(np.array(images)).to(task.device), order)
    return LocalRound(list(get_arrays(pair.generator).values()), losses, to_arrays(pair), note)


def restored_pair(
    task: GanTask, parameters: NDArrays, kept: Mapping[str, NDArray[np.generic]], draws: torch.Generator
) -> tuple[LocalPair, str]:
    """Return the pair with these arrays and what was kept, and a note where that does not fit."""
    set_arrays(task.generator, parameters)
    with drawn_from(derived_seed(task.seed, Purpose.TRAINING, BEFORE, task.partition)):
        discriminator = task.discriminator()
    pair = new_local_pair(task.generator, discriminator, task.latent, task.settings, draws, task.device)
    if kept:
        try:
            from_arrays(pair, kept)
        except StateMismatchError as error:
            return pair, f"its state does not fit ({error}); it started anew"
    return pair, ""


def _generators(task: GanTask, server_round: int) -> list[torch.Generator]:
    """Return a round's generators: of the images' order, of the noise to train on, of the noise to evaluate on."""
    seeds = generator(task.seed, Purpose.TRAINING, server_round, task.partition).integers(2**63 - 1, size=3)
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds]


def _told(losses: LocalLosses, *notes: str) -> dict[str, Scalar]:
    told: dict[str, Scalar] = {"loss": losses.generator, "critic-loss": losses.discriminator}
    text = "; ".join(note for note in notes if note)
    return told | {"note": text} if text else told
