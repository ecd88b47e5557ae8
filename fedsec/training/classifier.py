"""Local training of a classifier by stochastic gradient descent."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
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


def sgd(model: nn.Module, settings: TrainingSettings) -> torch.optim.SGD:
    """Return the optimiser of a model's parameters, with no momentum yet."""
    return torch.optim.SGD(model.parameters(), settings.learning_rate, settings.momentum, foreach=True)


def get_momentum(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, NDArray[np.generic]]:
    """Return the momentum of each parameter that has one, by name."""
    buffers = {name: optimiser.state[p].get("momentum_buffer") for name, p in model.named_parameters()}
    return {
        name: buffer.detach().cpu().numpy().copy(order="C") for name, buffer in buffers.items() if buffer is not None
    }


def set_momentum(
    model: nn.Module, optimiser: torch.optim.Optimizer, momentum: Mapping[str, NDArray[np.generic]]
) -> None:
    """Give each parameter the momentum under its name.

    Raises:
        ValueError: a name or a shape is none of the model's.
    """
    parameters = dict(model.named_parameters())
    for name, array in momentum.items():
        if name not in parameters or tuple(array.shape) != tuple(parameters[name].shape):
            raise ValueError(f"momentum '{name}' of shape {array.shape} is none of the model's")
        like = parameters[name]
        optimiser.state[like]["momentum_buffer"] = torch.from_numpy(np.array(array)).to(like)


def train_classifier(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    normalise: Normalisation,
    settings: TrainingSettings,
    generator: torch.Generator,
    optimiser: torch.optim.Optimizer | None = None,
    most: int = 0,
) -> float:
    """Train ``model`` in place and return the mean loss of the last epoch; NaN without examples.

    Args:
        model: on the device of ``images``.
        images: (N, C, H, W) uint8.
        labels: (N,) int64.
        normalise: turns bytes into what the model takes.
        settings: epochs, batch size, step size.
        generator: CPU generator of the order of the examples.
        optimiser: of the model's parameters, where its state is to outlive the call; by default a new one.
        most: how many of the examples an epoch takes at most, drawn anew in each; 0 takes all.
    """
    if len(labels) == 0:
        return float("nan")
    model.train()
    optimiser = optimiser or sgd(model, settings)
    total = torch.zeros((), device=images.device)
    for _ in range(settings.epochs):
        total.zero_()
        for batch, wanted in shuffled_batches(images, labels, settings.batch_size, generator, most):
            optimiser.zero_grad(set_to_none=True)
            loss = F.cross_entropy(model(normalise(batch)), wanted)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += loss.detach() * len(wanted)
    return float(total) / min(len(labels), most or len(labels))
