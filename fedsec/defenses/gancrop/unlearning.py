"""Unlearning of a recovered trigger.  Paper on GANcrop, section 3.2.

The trigger is stamped on clean images, which keep their true labels, and the suspect model is trained on them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from fedsec.defenses.gancrop.trigger import RecoveredTrigger, stamp


@dataclass(frozen=True, slots=True)
class UnlearningOptions:
    """How a trigger is unlearned. The paper gives none of these.

    Attributes:
        epochs: passes over the clean images.
        batch_size: images in a step.
        learning_rate: of SGD in the first step; it falls evenly to 0. One pass so does no worse than two at the same
            rate throughout. At twice the rate it does better where it converges, which it does not everywhere.
        momentum: of SGD.
        share: of the images of a batch, that are stamped; each with one of the triggers at random.
    """

    epochs: int = 1
    batch_size: int = 64
    learning_rate: float = 0.05
    momentum: float = 0.0
    share: float = 0.5

    def rate_at(self, epoch: int, part: float) -> float:
        """Return the learning rate after so many epochs and ``part`` of the next."""
        return self.learning_rate * (1.0 - (epoch + part) / self.epochs)


class Step(NamedTuple):
    """One step of an epoch.

    Attributes:
        rate: of SGD.
        chosen: (B,) the images.
        which: (b,) the triggers that the first b of them are stamped with.
    """

    rate: float
    chosen: torch.Tensor
    which: torch.Tensor


def steps_of(
    epoch: int, images: int, triggers: int, options: UnlearningOptions, generator: torch.Generator
) -> Iterator[Step]:
    """Yield the steps of an epoch over so many images, some of them stamped with one of so many triggers."""
    batches = torch.split(torch.randperm(images, generator=generator), options.batch_size)
    for place, chosen in enumerate(batches):
        count = round(options.share * len(chosen)) if triggers else 0
        which = torch.randint(triggers, (count,), generator=generator) if count else torch.empty(0, dtype=torch.long)
        yield Step(options.rate_at(epoch, place / len(batches)), chosen, which)


def unlearn(
    network: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    triggers: Sequence[RecoveredTrigger],
    options: UnlearningOptions,
    generator: torch.Generator,
) -> float:
    """Train a network in place until the triggers mean nothing to it; return the mean loss of the last epoch.

    BatchNorm uses its statistics and keeps them: those of stamped images are not those of clean ones.

    Args:
        network: from images in [0, 1] to logits.
        images: (N, C, H, W) clean ones in [0, 1].
        labels: (N,) their true classes.
        triggers: what to unlearn; without any, this is training on the clean images.
        options: how.
        generator: CPU generator of every draw.
    """
    network.eval()
    device = images.device
    masks = torch.stack([torch.from_numpy(trigger.mask) for trigger in triggers]).to(device) if triggers else None
    patterns = torch.stack([torch.from_numpy(trigger.pattern) for trigger in triggers]).to(device) if triggers else None
    optimiser = torch.optim.SGD(network.parameters(), options.learning_rate, options.momentum, foreach=True)
    total = 0.0
    for epoch in range(options.epochs):
        total = 0.0
        for rate, chosen, which in steps_of(epoch, len(labels), len(triggers), options, generator):
            optimiser.param_groups[0]["lr"] = rate
            batch, placed = images[chosen.to(device)], which.to(device)
            if masks is not None and patterns is not None:
                batch[: len(placed)] = stamp(batch[: len(placed)], masks[placed][:, None], patterns[placed])
            optimiser.zero_grad(set_to_none=True)
            loss = F.cross_entropy(network(batch), labels[chosen.to(device)])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += float(loss.detach()) * len(chosen)
    return total / len(labels)
