"""GangSweep.  Zhu, Ning, Wang, Xin and Wu, *GangSweep: Sweep out Neural Backdoors by GAN*, ACM Multimedia 2020.

The paper was not at hand. Its abstract says that a generator makes perturbation masks against the suspect network, that
those of a backdoor have low shifting variance and large shifting distance in feature space, and that the backdoor is
swept out with them; readers' notes say that there is one generator for each class, an autoencoder, and that the
suspect network takes the discriminator's place and stays fixed. Everything else is a choice, written where it is made.

Networks here take images in [0, 1], as in :mod:`fedsec.defenses.gancrop.trigger`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from fedsec.defenses.gancrop.trigger import anomaly_indices, frozen_copy
from fedsec.defenses.neural_cleanse import FEWEST_COMPARED, Flags
from fedsec.defenses.updates import Vector

HIDDEN, LATENT = 32, 16
"""Widths of a generator's layers."""

EVALUATED = 100
"""Images that are evaluated at once, with the perturbations of every class."""


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """How perturbations are generated, judged and swept out.

    Attributes:
        steps: steps of Adam for the generators.
        batch: images of a step; each is perturbed for every class.
        generator_rate: Adam's learning rate.
        norm_weight: cost of a unit of a perturbation's L1 norm, in nats.
        floor: percent of the images of other classes that must be turned before a norm is compared.
        threshold: anomaly index above which a class is flagged.
        epochs: passes over the images when the network is swept.
        learning_rate: of SGD meanwhile.
        batch_size: images of such a step.
        share: of those images that are perturbed.
    """

    steps: int = 200
    batch: int = 16
    generator_rate: float = 0.01
    norm_weight: float = 0.02
    floor: float = 80.0
    threshold: float = 2.0
    epochs: int = 2
    learning_rate: float = 0.05
    batch_size: int = 64
    share: float = 0.5


class Shifts(NamedTuple):
    """What the perturbations of each class do, (K,) each, over images of other classes.

    Attributes:
        success: percent of them that are taken for the class.
        norm: mean L1 norm of what is added to an image, in units of the full range.
        variance: variance of how far they move features, over the square of the distance.
        distance: length of the mean move in feature space.
    """

    success: Vector
    norm: Vector
    variance: Vector
    distance: Vector


class Generators(nn.Module):
    """A generator of perturbations for each class, all computed at once.

    Choice: an autoencoder of dense layers on images of half the size. A trigger lies at one place; a small
    convolutional one, which does not know places, misses it, and costs ten times as much.

    Args:
        channels: of an image.
        size: its height and width.
        classes: K.
    """

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__()
        self.shape = (classes, channels, size, size)
        widths = (channels * (size // 2) ** 2, HIDDEN, LATENT, channels * size * size)
        gains = (2.0, 2.0, 0.3)  # He's for rectified layers; less for the last, so that perturbations begin small
        self.weights = nn.ParameterList(
            torch.randn(classes, i, o) * (gain / i) ** 0.5
            for i, o, gain in zip(widths[:-1], widths[1:], gains, strict=True)
        )
        self.biases = nn.ParameterList(torch.zeros(classes, 1, o) for o in widths[1:])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return each image (N, C, H, W) perturbed for each class: (N, K, C, H, W), in [0, 1]."""
        hidden = F.avg_pool2d(images, 2).flatten(1).expand(self.shape[0], -1, -1)
        for place, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden, weight)
            hidden = torch.tanh(hidden) if place == len(self.weights) - 1 else F.relu(hidden)
        added = hidden.transpose(0, 1).reshape(len(images), *self.shape)
        return (images.unsqueeze(1) + added).clamp(0.0, 1.0)


def train_generators(
    generators: Generators, network: nn.Module, images: torch.Tensor, draws: torch.Generator, options: SweepOptions
) -> None:
    """Train every class's generator against the fixed network.

    Choice: minimises cross-entropy(network(x + G(x)), class) + norm_weight * |G(x)|_1 by Adam. With the L2 norm, whose
    answer spreads over the image, a backdoor's class stands out in fewer networks.

    Args:
        generators: K of them; they are changed.
        network: takes images in [0, 1] and returns logits (N, K); its weights stay.
        images: (N, C, H, W) float32 in [0, 1].
        draws: CPU generator of the batches.
        options: see :class:`SweepOptions`.
    """
    fixed, classes = frozen_copy(network), generators.shape[0]
    optimiser = torch.optim.Adam(generators.parameters(), options.generator_rate)
    expected = torch.arange(classes, device=images.device).repeat(options.batch)
    generators.train()
    for _ in range(options.steps):
        batch = images[torch.randint(len(images), (options.batch,), generator=draws).to(images.device)]
        perturbed = generators(batch)
        norms = (perturbed - batch.unsqueeze(1)).abs().sum((2, 3, 4))
        logits = fixed(perturbed.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits, expected, reduction="sum") + options.norm_weight * norms.sum()
        optimiser.zero_grad()
        (loss / options.batch).backward()
        optimiser.step()


@torch.no_grad()
def measure_shifts(generators: Generators, network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> Shifts:
    """Return what the perturbations of every class do to images of other classes; NaN for a class without any.

    Choice: features are what the last dense layer is given. The variance is divided by the squared distance, so that
    one number says "low variance and large distance" (the abstract) whatever the scale of a network's features.
    """
    fixed = frozen_copy(network)
    parts = [_shifts_of(generators, fixed, part) for part in torch.split(images, EVALUATED)]
    predicted, norms, moved = (torch.cat(part) for part in zip(*parts, strict=True))
    rows = []
    for target in range(generators.shape[0]):
        others = labels != target
        moves = moved[others, target]
        mean = moves.mean(0)
        spread, distance = (moves - mean).square().sum(1).mean(), mean.norm()
        hits = (predicted[others, target] == target).float().mean() * 100
        rows.append(torch.stack([hits, norms[others, target].mean(), spread / distance.square(), distance]))
    return Shifts(*torch.stack(rows, 1).double().cpu().numpy())


def flag_classes(shifts: Shifts, options: SweepOptions) -> Flags:
    """Return the classes whose perturbations are much smaller than the median.

    Choice: by their norm. The shifting variance of a backdoor's class is the lowest too, but it cannot fall far enough
    below the median for its anomaly index to pass 2 (measured on LeNet-5); it is reported beside. As in
    :func:`~fedsec.defenses.neural_cleanse.flag_targets`, a class that the perturbations do not reach is left out.
    """
    indices = np.full(len(shifts.norm), np.nan)
    good = np.flatnonzero((shifts.success >= options.floor) & np.isfinite(shifts.norm))
    if len(good) < FEWEST_COMPARED or 2 * len(good) <= len(indices):
        return Flags((), indices, converged=False)
    indices[good] = anomaly_indices(shifts.norm[good])
    order = sorted(good.tolist(), key=lambda place: -indices[place])
    return Flags(tuple(place for place in order if indices[place] > options.threshold), indices, converged=True)


def sweep(
    network: nn.Module,
    generators: Generators,
    flagged: Sequence[int],
    images: torch.Tensor,
    labels: torch.Tensor,
    draws: torch.Generator,
    options: SweepOptions,
) -> None:
    """Train the network until perturbed images are what they were before: the backdoor is swept out.

    Choice: of each batch a share is perturbed, each image for one of the flagged classes at random, all with their true
    labels; the others are clean. BatchNorm stays as it is, because its statistics are the clients'.

    Args:
        network: takes images in [0, 1]; it is changed.
        generators: trained ones.
        flagged: the classes whose perturbations are used, at least one.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) their true classes.
        draws: CPU generator of the order, and of what is perturbed.
        options: see :class:`SweepOptions`.
    """
    network.eval().requires_grad_(True)
    optimiser = torch.optim.SGD(network.parameters(), options.learning_rate)
    targets = torch.tensor(list(flagged))
    for _ in range(options.epochs):
        for chosen in torch.split(torch.randperm(len(images), generator=draws), options.batch_size):
            batch, truth = images[chosen.to(images.device)], labels[chosen.to(images.device)]
            stamped = round(options.share * len(chosen))
            target = targets[torch.randint(len(targets), (stamped,), generator=draws)].to(images.device)
            with torch.no_grad():
                perturbed = generators(batch[:stamped])[torch.arange(stamped, device=images.device), target]
            optimiser.zero_grad()
            loss = F.cross_entropy(network(torch.cat([perturbed, batch[stamped:]])), truth)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()


def _shifts_of(generators: Generators, network: nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return predictions (N, K), norms (N, K), and moves in feature space (N, K, F)."""
    perturbed = generators(images)
    _, clean = _features(network, images)
    logits, features = _features(network, perturbed.flatten(0, 1))
    shape = perturbed.shape[:2]
    norms = (perturbed - images.unsqueeze(1)).abs().sum((2, 3, 4))
    return logits.argmax(1).view(shape), norms, features.view(*shape, -1) - clean.unsqueeze(1)


def _features(network: nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits, and what the last dense layer was given; the logits themselves where there is none."""
    dense = [module for module in network.modules() if isinstance(module, nn.Linear)]
    given: list[torch.Tensor] = []
    hook = dense[-1].register_forward_pre_hook(lambda _, inputs: given.append(inputs[0])) if dense else None
    logits: torch.Tensor = network(images.contiguous(memory_format=torch.channels_last))
    if hook is not None:
        hook.remove()
    return logits, given[0] if given else logits
