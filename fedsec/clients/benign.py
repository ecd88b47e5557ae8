"""The honest client: it trains on its own examples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from flwr.client import NumPyClient
from flwr.common import NDArrays, Scalar
from numpy.typing import NDArray
from torch import nn

from fedsec.clients.state import ClientState
from fedsec.metrics.classification import main_task_accuracy
from fedsec.seeds import Purpose, derived_seed
from fedsec.training.batches import Normalisation, on_device
from fedsec.training.classifier import TrainingSettings, get_momentum, new_optimiser, set_momentum, train_classifier
from fedsec.training.cohort import Member, splits_batches, train_cohort
from fedsec.training.evaluation import predict
from fedsec.training.grouped import GroupedModel
from fedsec.training.parameters import get_arrays, set_arrays
from fedsec.training.threads import one_thread

ROUNDING = 1e-6
"""A share of a whole number of examples may come out so much too high."""

Examples = tuple[NDArray[np.uint8], NDArray[np.int64]]
Fitted = tuple[NDArrays, int, dict[str, Scalar]]


@dataclass(frozen=True, slots=True)
class LocalTask:
    """What a client has and how it trains.

    Attributes:
        model: the network; its weights are replaced in every call.
        images: (N, C, H, W) uint8, what the client trains on.
        labels: (N,) their classes.
        num_classes: number of classes.
        normalise: turns bytes into what the model takes.
        settings: epochs, batch size, step size.
        seed: seed of the run.
        partition: which partition the client holds; with the round it decides every random draw.
        epoch_share: which share of the examples an epoch takes, drawn anew in each.
        own: how many of the images, the first ones, are the client's own and were not made; ``None`` is all.
        note: what the client has to say with its next reply.
        device: where to train.
        grouped: the same network for several clients at once, where it can be had.
        state: folder of what clients keep between rounds; ``None`` keeps nothing. With it, momentum is kept.
    """

    model: nn.Module
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    num_classes: int
    normalise: Normalisation
    settings: TrainingSettings
    seed: int
    partition: int
    device: torch.device
    grouped: GroupedModel | None = None
    state: Path | None = None
    epoch_share: float = 1.0
    own: int | None = None
    note: str = ""


class BenignClient(NumPyClient):
    """A client that trains the model it is sent on its own examples, and reports its loss.

    Args:
        task: what it has and how it trains.
    """

    def __init__(self, task: LocalTask) -> None:
        super().__init__()
        self.task = task

    def examples(self, server_round: int) -> Examples:
        """Return the images and labels to train on in this round. What an attacker poisons is here."""
        return self.task.images, self.task.labels

    def get_parameters(self, config: dict[str, Scalar]) -> NDArrays:
        """Return the model's arrays, in the order of its state dict."""
        return list(get_arrays(self.task.model).values())

    def fit(self, parameters: NDArrays, config: dict[str, Scalar]) -> Fitted:
        """Train from ``parameters``; return the new ones, the number of examples, and the loss.

        A client without examples returns what it was sent and says that it has none.
        """
        task = self.task
        set_arrays(task.model, parameters)
        member = self.member(parameters, round_of(config))
        if len(member.labels) and task.grouped is not None and splits_batches(task.grouped, task.device):
            return fit_cohort(task, [member])[0]
        optimiser, state = new_optimiser(task.model, task.settings), self._state(config)
        note = ""
        if state is not None:
            kept, note = state.before(round_of(config))
            set_momentum(task.model, optimiser, kept)
        with one_thread():
            on = on_device(member.images, member.labels, task.device)
            loss = train_classifier(
                task.model, *on, task.normalise, task.settings, member.generator, optimiser, member.most
            )
        if state is not None:
            state.save(round_of(config), get_momentum(task.model, optimiser))
        return self.get_parameters({}), len(member.labels), _told(loss, member.note, note)

    def _state(self, config: dict[str, Scalar]) -> ClientState | None:
        """Return where this client's state of the run is kept, or ``None`` where it keeps none."""
        if self.task.state is None:
            return None
        return ClientState.of(self.task.state, str(config.get("run", "")), self.task.partition)

    def member(self, parameters: NDArrays, server_round: int) -> Member:
        """Return what this client brings into a cohort: where it starts, its examples, and their order."""
        seed = derived_seed(self.task.seed, Purpose.TRAINING, server_round, self.task.partition)
        images, labels = self.examples(server_round)
        most = math.ceil(self.task.epoch_share * len(labels) - ROUNDING)
        return Member(parameters, images, labels, torch.Generator().manual_seed(seed), most, self.task.note)

    def evaluate(self, parameters: NDArrays, config: dict[str, Scalar]) -> tuple[float, int, dict[str, Scalar]]:
        """Return loss and accuracy of ``parameters`` on the client's own clean examples."""
        task = self.task
        own = task.labels[: task.own]
        if len(own) == 0:
            return 0.0, 0, {"accuracy": 0.0}
        set_arrays(task.model, parameters)
        images, labels = on_device(task.images[: task.own], own, task.device)
        with one_thread():
            predicted, loss = predict(task.model, images, labels, task.normalise)
        return loss, len(labels), {"accuracy": main_task_accuracy(predicted, own)}


def round_of(config: dict[str, Scalar]) -> int:
    """Return the server's round from a message's configuration; 0 where a server does not tell it."""
    return int(config.get("server-round", config.get("server_round", 0)))


def fit_cohort(task: LocalTask, members: Sequence[Member]) -> list[Fitted]:
    """Return what :meth:`BenignClient.fit` of each of these clients returns, trained at once.

    Args:
        task: of any of them; of its contents they share the network, the settings and the device.
        members: the clients, each with examples to train on.

    Raises:
        ValueError: their network cannot be trained so, or a client has no examples.
    """
    if task.grouped is None:
        raise ValueError("the network has layers that only one client at a time can train")
    with one_thread():
        trained = train_cohort(task.grouped, members, task.normalise, task.settings, task.device)
    return [
        (of_one.arrays, len(member.labels), _told(of_one.loss, member.note))
        for of_one, member in zip(trained, members, strict=True)
    ]


def _told(loss: float, *notes: str) -> dict[str, Scalar]:
    """Return what a client reports: its loss, and a note where it has something to say."""
    text = "; ".join(note for note in notes if note)
    return {"loss": loss, "note": text} if text else {"loss": loss}
