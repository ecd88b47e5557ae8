"""Neural Cleanse.  Wang et al., *Neural Cleanse: Identifying and Mitigating Backdoor Attacks in Neural Networks*,
IEEE Symposium on Security and Privacy 2019.

For every class, the smallest patch that turns images of other classes into it; a class whose patch is much smaller than
those of the others is the target of a backdoor. Networks here take images in [0, 1], as in
:mod:`fedsec.defenses.gancrop.trigger`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from fedsec.defenses.gancrop.trigger import RecoveredTrigger, anomaly_indices, frozen_copy, success_rate
from fedsec.defenses.updates import Vector

FEWEST_COMPARED = 3
"""Sizes of which a median absolute deviation says anything."""


@dataclass(frozen=True, slots=True)
class CleanseOptions:
    """How triggers are searched for and judged.

    Attributes:
        steps: steps of Adam.
        batch: images of each class's batch.
        learning_rate: of Adam; its betas are 0.5 and 0.9, as in the authors' code.
        cost: of a pixel of the mask, when it first costs anything.
        multiplier: by which the cost grows; it falls by this to the power 1.5, as in the authors' code.
        patience: steps that the attack must succeed or fail in a row before the cost changes.
        wanted: percent of a batch that must be taken for the target for the attack to succeed.
        floor: percent of all images that a trigger must turn before its size is compared.
        threshold: anomaly index above which a class is flagged.
    """

    steps: int = 250
    batch: int = 16
    learning_rate: float = 0.1
    cost: float = 1e-3
    multiplier: float = 1.5
    patience: int = 5
    wanted: float = 99.0
    floor: float = 80.0
    threshold: float = 2.0


class Flags(NamedTuple):
    """Which classes stand out.

    Attributes:
        targets: the flagged ones, the most anomalous first.
        indices: (K,) anomaly index of each trigger; NaN where its success is below the floor, so that its size is of
            nothing.
        converged: whether more than half of the triggers reached the floor, and at least :data:`FEWEST_COMPARED`.
            Where they did not, nothing is flagged.
    """

    targets: tuple[int, ...]
    indices: Vector
    converged: bool


def neural_cleanse(
    network: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    num_classes: int,
    generator: torch.Generator,
    options: CleanseOptions | None = None,
) -> list[RecoveredTrigger]:
    """Return the smallest trigger found for each class (section 4 and algorithm of section 5.1).

    Minimises cross-entropy(network(x + m * (p - x)), target) + cost * sum(m) over mask m and pattern p. The cost starts
    at 0 and follows the attack's success; the answer is the smallest mask with which a step's batch succeeded, or the
    last one where none did.

    Deviations, for speed: all classes are searched for at once, and the cost may change after ``patience`` steps of one
    batch, where the authors' code takes passes over the data. An image of the target is never drawn for it: it says
    nothing of the trigger.

    Args:
        network: takes images in [0, 1] and returns logits; its weights stay.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) their classes, of at least two.
        num_classes: K.
        generator: CPU generator of initial values and batches.
        options: see :class:`CleanseOptions`.
    """
    search = _Search(images, labels, num_classes, generator, options or CleanseOptions())
    fixed = frozen_copy(network)
    for _ in range(search.options.steps):
        search.step(fixed, generator)
    return [
        RecoveredTrigger(
            target,
            mask.cpu().numpy(),
            pattern.cpu().numpy(),
            success_rate(fixed, images, labels, mask, pattern, target),
        )
        for target, (mask, pattern) in enumerate(zip(search.mask[:, 0], search.pattern, strict=True))
    ]


def flag_targets(triggers: list[RecoveredTrigger], options: CleanseOptions | None = None) -> Flags:
    """Return the classes whose triggers are much smaller than the median (section 4.2, "outlier detection").

    Deviation: the paper compares all sizes. A trigger that turns few images, or holds NaN, is no trigger, however
    small: it is left out. Of a network that answers with one class whatever it sees, one is left, and none is flagged.
    """
    options = options or CleanseOptions()
    indices = np.full(len(triggers), np.nan)
    good = [
        place
        for place, trigger in enumerate(triggers)
        if trigger.success >= options.floor and np.isfinite(trigger.size) and np.isfinite(trigger.pattern).all()
    ]
    if len(good) < FEWEST_COMPARED or 2 * len(good) <= len(triggers):
        return Flags((), indices, converged=False)
    indices[good] = anomaly_indices(np.array([triggers[place].size for place in good]))
    order = sorted(good, key=lambda place: -indices[place])
    flagged = tuple(triggers[place].target for place in order if indices[place] > options.threshold)
    return Flags(flagged, indices, converged=True)


class _Search:
    """Masks and patterns of K classes, and what each class's mask costs at the moment.

    Attributes:
        mask: (K, 1, H, W) the smallest mask of each class that succeeded, else the last.
        pattern: (K, C, H, W) its pattern.
    """

    def __init__(
        self, images: torch.Tensor, labels: torch.Tensor, classes: int, draws: torch.Generator, options: CleanseOptions
    ) -> None:
        self.images, self.options, device = images, options, images.device
        channels, height, width = images.shape[1:]
        self.targets = torch.arange(classes, device=device)
        # Each row lists the images that are not of its class, over and over: batches are columns drawn at random.
        others = [torch.nonzero(labels.cpu() != target)[:, 0] for target in range(classes)]
        self.others = [part if len(part) else torch.arange(len(images)) for part in others]
        drawn = torch.rand(classes, channels + 1, height, width, generator=draws).to(device)
        self.raw = torch.special.logit(drawn, eps=1e-3).requires_grad_()
        self.optimiser = torch.optim.Adam([self.raw], options.learning_rate, betas=(0.5, 0.9))
        self.cost = torch.zeros(classes, device=device)
        self.up, self.down = (torch.zeros(classes, device=device) for _ in range(2))
        self.smallest = torch.full((classes,), torch.inf, device=device)
        self.mask, self.pattern = (part.detach().clone() for part in self.values())

    def values(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return masks and patterns, each in [0, 1]."""
        raw = torch.sigmoid(self.raw)
        return raw[:, :1], raw[:, 1:]

    def step(self, network: nn.Module, draws: torch.Generator) -> None:
        """Take one step for every class, keep what is better than before, and set the costs."""
        drawn = torch.rand(len(self.targets), self.options.batch, generator=draws)
        chosen = torch.stack([part[(row * len(part)).long()] for part, row in zip(self.others, drawn, strict=True)])
        batch = self.images[chosen.to(self.images.device)]
        mask, pattern = self.values()
        stamped = batch + mask.unsqueeze(1) * (pattern.unsqueeze(1) - batch)
        logits = network(stamped.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        expected = self.targets.repeat_interleave(self.options.batch)
        sizes = mask.sum((1, 2, 3))
        losses = F.cross_entropy(logits, expected, reduction="none").view(len(self.targets), -1).mean(1)
        self.optimiser.zero_grad()
        (losses + self.cost * sizes).sum().backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            hit = (logits.argmax(1) == expected).view(len(self.targets), -1).float().mean(
                1
            ) * 100 >= self.options.wanted
            self._keep(hit & (sizes < self.smallest), hit, mask.detach(), pattern.detach(), sizes.detach())
        self.optimiser.step()
        self._set_costs(hit)

    def _keep(
        self, better: torch.Tensor, hit: torch.Tensor, mask: torch.Tensor, pattern: torch.Tensor, sizes: torch.Tensor
    ) -> None:
        taken = (better | (~hit & self.smallest.isinf())).view(-1, 1, 1, 1)
        self.mask = torch.where(taken, mask, self.mask)
        self.pattern = torch.where(taken, pattern, self.pattern)
        self.smallest = torch.where(better, sizes, self.smallest)

    def _set_costs(self, hit: torch.Tensor) -> None:
        """Raise the cost of a class whose attack keeps succeeding, and lower that of one whose attack keeps failing."""
        options = self.options
        self.up, self.down = torch.where(hit, self.up + 1, 0.0), torch.where(hit, 0.0, self.down + 1)
        rises, falls = self.up >= options.patience, self.down >= options.patience
        raised = torch.where(self.cost > 0, self.cost * options.multiplier, options.cost)
        self.cost = torch.where(rises, raised, torch.where(falls, self.cost / options.multiplier**1.5, self.cost))
        self.up, self.down = torch.where(rises, 0.0, self.up), torch.where(falls, 0.0, self.down)
