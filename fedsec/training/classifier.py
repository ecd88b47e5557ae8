"""Local training of a classifier by stochastic gradient descent."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from fedsec.training.batches import Normalisation, shuffled_batches


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How a client trains.

    Attributes:
        epochs: E, passes over the local examples in a round.
        batch_size: examples in a step.
        learning_rate: eta, the step size.
        momentum: of SGD; 0 is plain SGD.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float = 0.0


def train_classifier(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    normalise: Normalisation,
    settings: TrainingSettings,
    generator: torch.Generator,
) -> float:
    """Train ``model`` in place and return the mean loss of the last epoch; NaN without examples.

    Args:
        model: on the device of ``images``.
        images: (N, C, H, W) uint8.
        labels: (N,) int64.
        normalise: turns bytes into what the model takes.
        settings: epochs, batch size, step size.
        generator: CPU generator of the order of the examples.
    """
    if len(labels) == 0:
        return float("nan")
    model.train()
    optimiser = torch.optim.SGD(model.parameters(), settings.learning_rate, settings.momentum, foreach=True)
    total = torch.zeros((), device=images.device)
    for _ in range(settings.epochs):
        total.zero_()
        for batch, wanted in shuffled_batches(images, labels, settings.batch_size, generator):
            optimiser.zero_grad(set_to_none=True)
            loss = F.cross_entropy(model(normalise(batch)), wanted)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += loss.detach() * len(wanted)
    return float(total) / len(labels)
