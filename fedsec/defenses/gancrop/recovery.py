"""Recovery of a trigger by a generator whose discriminator is the suspect model.  Paper on GANcrop, section 3.2.

"Unlike traditional GANs, we do not optimize the discriminator during training; instead, we use the model from
potentially malicious users as a substitute". The paper gives neither the generator nor its loss, nor says how the
target class is known. Here one generator makes a mask and a pattern for every class at once, so that every class is
tried in one batch; the class whose mask stands out as small is the target.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from fedsec.defenses.gancrop.trigger import RecoveredTrigger, anomaly_indices, frozen_copy, stamp, success_rate

START = 8
"""The generator's first maps have 1 / START of an image's side."""

NEEDED = 60.0
"""Percent of stamped images that must be taken for the target before the size of a mask means anything."""

SMALLEST, LARGEST = 1.0, 0.25
"""Pixels that the mask of a trigger sums to at least, and part of the image at most: what fools with less is a
model that knows one class, and what takes more is no longer the image that it is stamped on."""

LIFT, SMALL = 35.0, 0.1
"""Points by which a trigger fools the suspect more often than the trusted model, and part of the image that a mask may
sum to that does not stand out by its size."""

LONGEST = 1.0
"""Highest L2 norm of the generator's gradient."""

PATIENCE, FACTOR = 10, 1.5
"""Steps between two changes of a mask's price, and by how much it changes: as Neural Cleanse's schedule does."""


@dataclass(frozen=True, slots=True)
class RecoveryOptions:
    """How a trigger is recovered.

    Attributes:
        steps: of the generator.
        batch_size: images that each class's trigger is stamped on in a step.
        learning_rate: of Adam.
        wanted: share of a batch that a trigger must fool, above which its mask is made smaller, below which larger.
        price: first weight of a mask's size, in units of the cross-entropy per 1 / 100 of the image.
        outlier: robust deviations below the median from which a mask's size stands out (Neural Cleanse: 2).
    """

    steps: int = 200
    batch_size: int = 16
    learning_rate: float = 0.01
    wanted: float = 0.93
    price: float = 0.02
    outlier: float = 2.0


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was recovered from a model.

    Attributes:
        triggers: one for each class that was tried.
        indices: of each, how far its mask lies below the median, in robust deviations; 0 where it fools too few.
        target: the class that stands out; ``None`` where none does.
    """

    triggers: tuple[RecoveredTrigger, ...]
    indices: NDArray[np.float64]
    target: int | None

    @property
    def outstanding(self) -> RecoveredTrigger | None:
        """The trigger of the class that stands out."""
        return next((trigger for trigger in self.triggers if trigger.target == self.target), None)


class TriggerGenerator(nn.Module):
    """Makes a mask and a pattern for each class from noise.

    Args:
        shape: of an image, (C, H, W).
        num_classes: K.
        generator: draws the initial weights.
        latent: length of the noise.
        width: channels of its inner maps.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        num_classes: int,
        generator: torch.Generator,
        latent: int = 16,
        width: int = 16,
    ) -> None:
        super().__init__()
        self.channels, self.height, self.width = shape
        self.latent = latent
        rows, columns = max(2, self.height // START), max(2, self.width // START)
        self.codes = nn.Parameter(torch.empty(num_classes, width, rows, columns))
        self.noise = nn.Linear(latent, width)
        self.inner = nn.Conv2d(width, width, 3, padding=1)
        self.outer = nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Conv2d(width, self.channels + 1, 3, padding=1)
        # Beside the smooth maps, pixels of their own: a trigger has sharp edges.
        self.pixels = nn.Parameter(torch.zeros(num_classes, self.channels + 1, self.height, self.width))
        with torch.no_grad():
            for parameter in self.parameters():
                bound = max(1, parameter[0].numel()) ** -0.5
                parameter.uniform_(-bound, bound, generator=generator)

    def forward(self, noise: torch.Tensor, classes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return masks (k, H, W) and patterns (k, C, H, W), in [0, 1], from ``noise`` (k, latent) for k ``classes``."""
        maps = F.relu(self.codes[classes] + self.noise(noise)[:, :, None, None])
        maps = F.relu(self.inner(F.interpolate(maps, scale_factor=2.0, mode="nearest")))
        maps = F.interpolate(maps, (self.height, self.width), mode="bilinear", align_corners=False)
        made = self.last(F.relu(self.outer(maps))) + self.pixels[classes]
        return torch.sigmoid(made[:, 0] - 1.0), torch.sigmoid(made[:, 1:])


def recover(
    network: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    maker: TriggerGenerator,
    options: RecoveryOptions,
    generator: torch.Generator,
    trusted: nn.Module | None = None,
    only: int | None = None,
) -> Recovery:
    """Train a generator of triggers against a model, which stays as it is; return what it makes.

    Args:
        network: the suspect; from images in [0, 1] to logits.
        images: (N, C, H, W) clean ones in [0, 1].
        labels: (N,) their classes.
        maker: the generator, new or as it was after a round before; it is trained in place.
        options: how to train it.
        generator: CPU generator of every draw.
        trusted: a model to compare with.
        only: the one class to try; by default all of them.
    """
    classes = torch.arange(len(maker.codes)) if only is None else torch.tensor([only])
    _train(frozen_copy(network), images, labels, maker, options, generator, classes.to(images.device))
    with torch.no_grad():
        masks, patterns = maker(torch.zeros(len(classes), maker.latent, device=images.device), classes)
    triggers = [
        _trigger(network, trusted, images, labels, mask, pattern, target)
        for target, mask, pattern in zip(classes.tolist(), masks, patterns, strict=True)
    ]
    return judge(triggers, options.outlier)


def judge(triggers: Sequence[RecoveredTrigger], outlier: float) -> Recovery:
    """Return which class's trigger stands out.

    It fools the suspect, by a mask that is small: compared with other classes', as in Neural Cleanse, or compared with
    the image, as for a pattern over all of it, which no small mask makes. And where there is a trusted model it fools
    that one far less: natural triggers, which every model has, fool both. A class that is tried alone stood out before.
    """
    sizes = np.array([trigger.size for trigger in triggers])
    fools = np.array([is_trigger(trigger) for trigger in triggers])
    indices = np.where(fools, anomaly_indices(sizes), 0.0)
    lifts = np.array([trigger.success - trigger.before for trigger in triggers])
    compared = np.isfinite(lifts)
    small = (indices >= outlier) | (compared & (sizes <= SMALL * triggers[0].mask.size)) | (len(triggers) == 1)
    stands_out = fools & small & (~compared | (lifts >= LIFT))
    if not stands_out.any():
        return Recovery(tuple(triggers), indices, None)
    ranks = np.where(stands_out, np.where(compared, lifts, indices), -np.inf)
    return Recovery(tuple(triggers), indices, triggers[int(ranks.argmax())].target)


def is_trigger(trigger: RecoveredTrigger) -> bool:
    """Tell whether a trigger fools the model at all, by a mask that is neither nothing nor most of the image."""
    return trigger.success >= NEEDED and SMALLEST <= trigger.size <= LARGEST * trigger.mask.size


def fools_far_more(trigger: RecoveredTrigger) -> bool:
    """Tell whether a trigger whose size was judged before fools the suspect, and the trusted model far less."""
    return is_trigger(trigger) and trigger.success - trigger.before >= LIFT


def _train(
    network: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    maker: TriggerGenerator,
    options: RecoveryOptions,
    generator: torch.Generator,
    tried: torch.Tensor,
) -> None:
    classes, device = len(tried), images.device
    pools = [torch.nonzero(labels != target).squeeze(1) for target in tried.tolist()]
    wanted = tried.repeat_interleave(options.batch_size)
    optimiser = torch.optim.Adam(maker.parameters(), options.learning_rate, (0.5, 0.9), foreach=True)
    price = torch.full((classes,), options.price, device=device)
    fooled = torch.zeros(classes, device=device)
    for step in range(options.steps):
        masks, patterns = maker(torch.randn(classes, maker.latent, generator=generator).to(device), tried)
        chosen = torch.stack([pool[_draw(len(pool), options.batch_size, generator).to(device)] for pool in pools])
        stamped = stamp(images[chosen], masks[:, None, None], patterns[:, None])
        logits = network(stamped.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        losses = F.cross_entropy(logits, wanted, reduction="none").view(classes, -1).mean(1)
        fooled += (logits.detach().argmax(1) == wanted).float().view(classes, -1).mean(1)
        sizes = 100.0 * masks.flatten(1).mean(1)
        optimiser.zero_grad(set_to_none=True)
        (losses + price * sizes).sum().backward()
        # A weak model's gradients are large at first, and one step of them can drive every mask to all of the image.
        nn.utils.clip_grad_norm_(maker.parameters(), LONGEST)
        optimiser.step()
        if step % PATIENCE == PATIENCE - 1:
            price = torch.where(fooled / PATIENCE >= options.wanted, price * FACTOR, price / FACTOR).clamp(
                min=options.price / 10
            )
            fooled.zero_()


def _draw(number: int, size: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randint(number, (size,), generator=generator)


def _trigger(
    network: nn.Module,
    trusted: nn.Module | None,
    images: torch.Tensor,
    labels: torch.Tensor,
    mask: torch.Tensor,
    pattern: torch.Tensor,
    target: int,
) -> RecoveredTrigger:
    before = float("nan")
    if trusted is not None:
        before = success_rate(trusted, images, labels, mask, pattern, target)
    success = success_rate(network, images, labels, mask, pattern, target)
    return RecoveredTrigger(target, mask.cpu().numpy(), pattern.cpu().numpy(), success, before)
