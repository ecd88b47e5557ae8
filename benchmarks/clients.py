"""What the benchmarks of engines train: images, clients, configurations."""

import time
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from flwr.client import NumPyClient
from flwr.common import NDArrays, Scalar
from torch import nn
from torch.nn import functional as F

from fedsec.client_app import build_client
from fedsec.clients import BenignClient
from fedsec.clients.benign import Fitted
from fedsec.models.classifiers import build_classifier
from fedsec.runs.config import RunConfig
from fedsec.runs.loading import parse


def configuration(dataset: Path | str, *, rounds: int, clients: int = 10, **sections: dict[str, Any]) -> RunConfig:
    """Return a run of ``clients`` honest clients on ``dataset``."""
    tables: dict[str, Any] = {
        "run": {"name": "bench"},
        "data": {"dataset": str(dataset), "partition": "iid"},
        "federation": {"clients": clients, "rounds": rounds, "local-epochs": 1, "batch-size": 64},
        "attack": {"kind": "none"},
        "defense": {"strategy": "fedavg"},
    }
    return parse({name: values | sections.get(name, {}) for name, values in tables.items()})


def write_images(folder: Path, examples: int) -> Path:
    """Write random images as MNIST has them, a test image for six training images, and return their folder."""
    rng = np.random.default_rng(0)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)})
    folder.mkdir()
    for split, count in (("train", examples), ("test", examples // 6)):
        images = list(rng.integers(0, 256, (count, 28, 28), dtype=np.uint8))
        table = datasets.Dataset.from_dict({"image": images, "label": rng.integers(0, 10, count)}, features=features)
        table.to_parquet(folder / f"{split}.parquet")
    return folder


class UsualClient(NumPyClient):
    """A client as it is usually written: a network, an optimiser, a shuffled loop over batches in memory.

    Args:
        config: the run's configuration.
        partition: which partition it holds.
    """

    def __init__(self, config: RunConfig, partition: int) -> None:
        super().__init__()
        client = build_client(config, partition)
        if not isinstance(client, BenignClient):
            raise ValueError(f"model.name {config.model.name!r} is no classifier")
        task = client.task
        self.images = task.normalise(torch.from_numpy(task.images)).contiguous()
        self.labels = torch.from_numpy(task.labels)
        self.model: nn.Module = build_classifier(
            config.model.name, self.images.shape[1], self.images.shape[2], task.num_classes
        )
        self.settings = task.settings

    def fit(self, parameters: NDArrays, config: dict[str, Scalar]) -> Fitted:
        """Train for the epochs of the configuration."""
        state = zip(self.model.state_dict(), parameters, strict=True)
        self.model.load_state_dict({name: torch.tensor(array) for name, array in state})
        optimiser = torch.optim.SGD(self.model.parameters(), self.settings.learning_rate)
        loss = torch.zeros(())
        for _ in range(self.settings.epochs):
            for chosen in torch.split(torch.randperm(len(self.labels)), self.settings.batch_size):
                optimiser.zero_grad()
                loss = F.cross_entropy(self.model(self.images[chosen]), self.labels[chosen])
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
        arrays = [tensor.numpy() for tensor in self.model.state_dict().values()]
        return arrays, len(self.labels), {"loss": float(loss.detach())}


class IdleClient(NumPyClient):
    """A client that returns what it is sent, and when it was called."""

    def fit(self, parameters: NDArrays, config: dict[str, Scalar]) -> Fitted:
        """Return the parameters."""
        return parameters, 1, {"called": time.time()}


def idle_client(config: RunConfig, partition: int) -> NumPyClient:
    """Return a client that does nothing."""
    return IdleClient()
