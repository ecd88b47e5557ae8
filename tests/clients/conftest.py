"""What a client has: sixty digits and a small network; for a GAN, sixteen images and a small pair."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fedsec.clients import GanTask, LocalTask
from fedsec.data.datasets import load
from fedsec.models.classifiers import build_classifier
from fedsec.models.dcgan import DcganDiscriminator, DcganGenerator
from fedsec.models.drawing import drawn_from
from fedsec.training.batches import Normalisation
from fedsec.training.classifier import TrainingSettings
from fedsec.training.federated_gan import FederatedGanSettings
from fedsec.training.parameters import get_arrays


@pytest.fixture
def task(cache: Path) -> LocalTask:
    """Return the task of partition 3."""
    train = load("digits", "train")
    return LocalTask(
        model=build_classifier("lenet5", 1, 28, 10, seed=0),
        images=train.images[:60],
        labels=train.labels[:60],
        num_classes=10,
        normalise=Normalisation(train.mean, train.std),
        settings=TrainingSettings(epochs=1, batch_size=16, learning_rate=0.1),
        seed=5,
        partition=3,
        device=torch.device("cpu"),
    )


@pytest.fixture
def nothing(task: LocalTask) -> LocalTask:
    """Return the task of a client that has no examples."""
    return replace(task, images=task.images[:0], labels=task.labels[:0])


@pytest.fixture
def sent() -> list[np.ndarray]:
    """Return the global model that the server sends."""
    return list(get_arrays(build_classifier("lenet5", 1, 28, 10, seed=1)).values())


@pytest.fixture
def gan_task(tmp_path: Path) -> GanTask:
    """Return the task of partition 3 in a federated GAN: sixteen images in four batches."""
    return GanTask(
        generator=_generator(0),
        discriminator=lambda: DcganDiscriminator(1, 16, 4, "batch"),
        latent=6,
        images=np.random.default_rng(1).integers(0, 256, (16, 1, 16, 16), dtype=np.uint8),
        settings=FederatedGanSettings(batch_size=4, precision="float32"),
        seed=5,
        partition=3,
        device=torch.device("cpu"),
        state=tmp_path / "state",
    )


@pytest.fixture
def gan_sent() -> list[np.ndarray]:
    """Return the global generator that the server sends."""
    return list(get_arrays(_generator(1)).values())


def _generator(seed: int) -> DcganGenerator:
    with drawn_from(seed):
        return DcganGenerator(1, 16, 6, 4)
