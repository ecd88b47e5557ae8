"""Adaptive discriminator augmentation: how a discriminator sees few images without learning them by heart.

Karras et al., *Training Generative Adversarial Networks with Limited Data*, NeurIPS 2020: "bgc" of section 3 and
appendix B, the controller of section 3.1.  arXiv:2006.06676
"""

import torch

from fedsec.training.ada_colours import coloured, random_colours
from fedsec.training.ada_moves import moved, random_moves
from fedsec.training.chance import Chance

TARGET = 0.6
"""The paper's r_t: above it a discriminator knows its images too well."""

IMAGES_TO_ONE = 500_000
"""Images in which p goes from 0 to 1, in the paper."""

BATCHES = 4
"""Batches that the paper sees before each change of p; r_t is the mean over them."""


def augmented(images: torch.Tensor, p: float, draws: torch.Generator) -> torch.Tensor:
    """Return ``images`` (N, C, H, W) in [-1, 1], of one or three channels, augmented at random; gradients pass through.

    Each image is flipped, turned by quarters, moved by whole pixels, scaled, stretched, turned and moved freely, and
    its brightness, contrast, luma, hue and saturation are changed, each with probability ``p``. The discriminator has
    to see real and generated images through this function alike. A gradient penalty belongs to what comes out of it.

    Args:
        images: real or generated images.
        p: probability of every change; 0 returns the images as they are, and draws nothing.
        draws: generator of the CPU, so that the changes are the same on every device.
    """
    _check(p)
    if images.shape[1] not in (1, 3):
        raise ValueError(f"Augmentation is for images of one or three channels; got {images.shape[1]}.")
    if p == 0:
        return images
    chance = Chance(len(images), p, draws)
    images = moved(images, random_moves(chance, *images.shape[2:]))
    return coloured(images, *random_colours(chance, images.shape[1]))


def overfitting(on_real: torch.Tensor) -> float:
    """Return r_t = E sign D(x) from the logits (N,) of real images: 0 where none is known, 1 where all are.

    It is for a discriminator, whose logit of 0 is "as likely real as not"; a critic's scores have no such point.
    """
    return on_real.detach().sign().mean().item()


def adapted(
    p: float, overfit: float, shown: int, *, target: float = TARGET, images_to_one: int = IMAGES_TO_ONE
) -> float:
    """Return the next ``p``: up where the discriminator overfits, else down, by ``shown`` / ``images_to_one``.

    p' = p + sign(r_t - target) shown / images_to_one, kept in 0 to 1.

    Args:
        p: probability of every change so far.
        overfit: r_t over the real images that were shown since the last call.
        shown: how many these were.
        target: r_t that is aimed at.
        images_to_one: images in which p may go from 0 to 1.
    """
    _check(p)
    if images_to_one < 1:
        raise ValueError(f"p needs at least one image to go from 0 to 1; got {images_to_one}.")
    direction = (overfit > target) - (overfit < target)
    return min(1.0, max(0.0, p + direction * shown / images_to_one))


def _check(p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"The probability of an augmentation is from 0 to 1; got {p}.")
