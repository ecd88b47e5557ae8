"""The honest client: it trains on its own examples."""

from dataclasses import dataclass

import numpy as np
import torch
from flwr.client import NumPyClient
from flwr.common import NDArrays, Scalar
from numpy.typing import NDArray
from torch import nn

from fedsec.metrics.classification import main_task_accuracy
from fedsec.seeds import Purpose, derived_seed
from fedsec.training.batches import Normalisation, on_device
from fedsec.training.classifier import TrainingSettings, train_classifier
from fedsec.training.evaluation import predict
from fedsec.training.parameters import get_arrays, set_arrays
from fedsec.training.threads import one_thread

Examples = tuple[NDArray[np.uint8], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class LocalTask:
    """What a client has and how it trains.

    Attributes:
        model: the network; its weights are replaced in every call.
        images: (N, C, H, W) uint8, the client's own training images.
        labels: (N,) their classes.
        num_classes: number of classes.
        normalise: turns bytes into what the model takes.
        settings: epochs, batch size, step size.
        seed: seed of the run.
        partition: which partition the client holds; with the round it decides every random draw.
        device: where to train.
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

    def fit(self, parameters: NDArrays, config: dict[str, Scalar]) -> tuple[NDArrays, int, dict[str, Scalar]]:
        """Train from ``parameters``; return the new ones, the number of examples, and the loss.

        A client without examples returns what it was sent and says that it has none.
        """
        task, server_round = self.task, round_of(config)
        set_arrays(task.model, parameters)
        images, labels = on_device(*self.examples(server_round), task.device)
        order = torch.Generator().manual_seed(derived_seed(task.seed, Purpose.TRAINING, server_round, task.partition))
        with one_thread():
            loss = train_classifier(task.model, images, labels, task.normalise, task.settings, order)
        return self.get_parameters({}), len(labels), {"loss": loss}

    def evaluate(self, parameters: NDArrays, config: dict[str, Scalar]) -> tuple[float, int, dict[str, Scalar]]:
        """Return loss and accuracy of ``parameters`` on the client's own clean examples."""
        task = self.task
        if len(task.labels) == 0:
            return 0.0, 0, {"accuracy": 0.0}
        set_arrays(task.model, parameters)
        images, labels = on_device(task.images, task.labels, task.device)
        with one_thread():
            predicted, loss = predict(task.model, images, labels, task.normalise)
        return loss, len(labels), {"accuracy": main_task_accuracy(predicted, task.labels)}


def round_of(config: dict[str, Scalar]) -> int:
    """Return the server's round from a message's configuration; 0 where a server does not tell it."""
    return int(config.get("server-round", config.get("server_round", 0)))
