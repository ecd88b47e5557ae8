"""Local training of a classifier by stochastic gradient descent, or by Adam."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from fedsec.training.batches import Normalisation, shuffled_batches

Optimiser = Literal["sgd", "adam"]

BETAS, EPSILON = (0.5, 0.999), 1e-7
"""Of Adam, as the paper on reconstruction by GANs has them (section III.C, below equation 3)."""

KEPT = ("momentum_buffer", "step", "exp_avg", "exp_avg_sq")
"""What an optimiser keeps for each parameter: SGD the first, Adam the others."""


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How a client trains.

    Attributes:
        epochs: E, passes over the local examples in a round.
        batch_size: examples in a step.
        learning_rate: eta, the step size.
        momentum: of SGD; 0 is plain SGD.
        optimiser: ``"sgd"``, or ``"adam"`` with :data:`BETAS` and :data:`EPSILON`.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float = 0.0
    optimiser: Optimiser = "sgd"


def new_optimiser(model: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Return the optimiser of a model's parameters that the settings name, without any state yet."""
    return sgd(model, settings) if settings.optimiser == "sgd" else adam(model, settings.learning_rate)


def adam(model: nn.Module, learning_rate: float) -> torch.optim.Adam:
    """Return Adam for a model's parameters, with no moments yet."""
    return torch.optim.Adam(model.parameters(), learning_rate, BETAS, EPSILON, fused=True)


def sgd(model: nn.Module, settings: TrainingSettings) -> torch.optim.SGD:
    """Return the optimiser of a model's parameters, with no momentum yet."""
    return torch.optim.SGD(model.parameters(), settings.learning_rate, settings.momentum, foreach=True)


def get_momentum(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, NDArray[np.generic]]:
    """Return what the optimiser keeps for each parameter: SGD's momentum by its name, Adam's moments below it."""
    found: dict[str, NDArray[np.generic]] = {}
    for name, parameter in model.named_parameters():
        for key, kept in optimiser.state.get(parameter, {}).items():
            if kept is not None:
                found[_kept_as(name, key)] = kept.detach().cpu().numpy().copy(order="C")
    return found


def set_momentum(
    model: nn.Module, optimiser: torch.optim.Optimizer, momentum: Mapping[str, NDArray[np.generic]]
) -> None:
    """Give each parameter what :func:`get_momentum` returned for it.

    Raises:
        ValueError: a name or a shape is none of the model's.
    """
    parameters = dict(model.named_parameters())
    keys = KEPT[:1] if isinstance(optimiser, torch.optim.SGD) else KEPT[1:]
    places = {_kept_as(name, key): (parameters[name], key) for name in parameters for key in keys}
    for name, array in momentum.items():
        like, key = places.get(name, (None, ""))
        if like is None or tuple(array.shape) != (() if key == "step" else tuple(like.shape)):
            raise ValueError(f"momentum '{name}' of shape {array.shape} is none of the model's")
        optimiser.state[like][key] = torch.from_numpy(np.array(array)).to(like)


def _kept_as(name: str, key: str) -> str:
    return name if key == KEPT[0] else f"{name}.{key}"


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
    optimiser = optimiser or new_optimiser(model, settings)
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
