"""Generator and discriminator of a deep convolutional GAN.

Radford, Metz and Chintala, *Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
Networks*, ICLR 2016.  arXiv:1511.06434
Gulrajani et al., *Improved Training of Wasserstein GANs*, 2017: a critic without BatchNorm.  arXiv:1704.00028
Jin and Li, *Backdoor Attack is a Devil in Federated GAN-based Medical Image Synthesis*, 2022: this discriminator
against StyleGAN2's generator, with InstanceNorm for the gradient penalty.  arXiv:2207.00762
"""

from itertools import pairwise
from typing import Literal

import torch
from torch import nn

Norm = Literal["batch", "instance"]

SIZES = (16, 32, 64, 128, 256)
"""Sides in pixels that halve to 4."""

SLOPE = 0.2
SPREAD = 0.02


class DcganGenerator(nn.Module):
    """Images from noise: 4 x 4 pixels with the most channels, whose side doubles and whose channels halve in turn.

    Args:
        channels: channels of an image.
        size: height and width of an image in pixels, a power of two from 16 to 256.
        latent: length of the noise z.
        width: channels at half the size, where they are fewest.
    """

    def __init__(self, channels: int, size: int, latent: int, width: int) -> None:
        super().__init__()
        widest, *narrower = reversed(_widths(size, width))
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent, widest, 4, bias=False)]
        for before, after in pairwise([widest, *narrower]):
            layers += [nn.BatchNorm2d(before), nn.ReLU(), nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False)]
        layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.ConvTranspose2d(width, channels, 4, 2, 1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self.apply(_draw_weights)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Return images (N, channels, size, size) in [-1, 1] from ``z`` (N, latent)."""
        images: torch.Tensor = self.layers(z[:, :, None, None])
        return images


class DcganDiscriminator(nn.Module):
    """How real an image looks, as a logit; or the critic of a Wasserstein GAN, as an unbounded score.

    For 256 x 256 and a width of 64 there are 44.7 million weights, as in the reference code of the federated GAN.

    Args:
        channels: channels of an image.
        size: height and width of an image in pixels, a power of two from 16 to 256.
        width: channels of the first convolution; each further one has twice as many.
        norm: ``"batch"`` for a discriminator; ``"instance"`` for a critic with gradient penalty, which has to be a
            function of each image alone.
    """

    def __init__(self, channels: int, size: int, width: int, norm: Norm) -> None:
        super().__init__()
        widths = _widths(size, width)
        # The reference code of the federated GAN has InstanceNorm after the first convolution too. Here is the paper's
        # wording, that it replaces BatchNorm, which DCGAN does not have there: normalising right after a linear layer
        # would hide from the critic each image's mean colour and contrast. Hence also the bias.
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(SLOPE)]
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 4, 2, 1, bias=False), _norm(norm, after), nn.LeakyReLU(SLOPE)]
        layers += [nn.Conv2d(widths[-1], 1, 4)]
        self.layers = nn.Sequential(*layers)
        self.apply(_draw_weights)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return a logit (N,) for each of ``images`` (N, channels, size, size) in [-1, 1]."""
        logits: torch.Tensor = self.layers(images)
        return logits.flatten()


def _widths(size: int, width: int) -> list[int]:
    """Return the channels at each side from ``size`` / 2 down to 4."""
    if size not in SIZES:
        raise ValueError(f"DCGAN's images have a power of two from 16 to 256 pixels a side; got {size}.")
    return [width * 2**halving for halving in range(SIZES.index(size) + 2)]


def _norm(norm: Norm, width: int) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm2d(width)
    if norm == "instance":
        return nn.InstanceNorm2d(width, affine=True)
    raise ValueError(f'DCGAN\'s discriminator has norm "batch" or "instance"; got "{norm}".')


def _draw_weights(layer: nn.Module) -> None:
    """Draw the weights from N(0, 0.02), and the scales of a normalisation, which multiply, from N(1, 0.02)."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, 0.0, SPREAD)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    elif isinstance(layer, nn.BatchNorm2d | nn.InstanceNorm2d):
        nn.init.normal_(layer.weight, 1.0, SPREAD)
        nn.init.zeros_(layer.bias)
