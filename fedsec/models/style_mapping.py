"""The mapping network of StyleGAN, from noise to styles, of dense layers with equalised learning rates.

Karras, Laine and Aila, *A Style-Based Generator Architecture for Generative Adversarial Networks*, CVPR 2019: eight
layers that learn a hundred times more slowly (section 2, appendix C).  arXiv:1812.04948
Karras et al., *Progressive Growing of GANs*, ICLR 2018: equalised learning rates and pixel norm (sections 4.1, 4.2).
arXiv:1710.10196
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

SLOPE = 0.2
RATE = 0.01
"""How fast the mapping network learns beside the rest of the generator."""

EPSILON = 1e-8


class Dense(nn.Module):
    """A dense layer y = r (W x / sqrt(inputs) + b), whose stored weights all have a deviation of 1 / r at first.

    An optimiser that moves every weight by about its learning rate, as Adam does, so moves those of all layers alike,
    and those of a layer of rate r by r as much.

    Args:
        inputs: length of x.
        outputs: length of y.
        bias: what is added to y at first.
        rate: r.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: float = 0.0, rate: float = 1.0) -> None:
        super().__init__()
        self.rate, self.gain = rate, rate / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return y (N, outputs) from ``x`` (N, inputs)."""
        return F.linear(x, self.weight * self.gain, self.bias * self.rate)


class MappingNetwork(nn.Module):
    """A style for each z, by dense layers with leaky ReLU after z is brought to unit length per coordinate.

    Args:
        latent: length of z.
        style: length of a style, and of what is between the layers.
        layers: number of dense layers.
    """

    def __init__(self, latent: int, style: int, layers: int) -> None:
        super().__init__()
        widths = [latent] + [style] * layers
        self.layers = nn.ModuleList([Dense(widths[i], widths[i + 1], rate=RATE) for i in range(layers)])

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Return styles w (N, style) of ``z`` (N, latent)."""
        w = normalised(z)
        for layer in self.layers:
            w = leaky(layer(w))
        return w


def normalised(z: torch.Tensor) -> torch.Tensor:
    """Return ``z`` (N, latent) with a mean square of 1 in each row (pixel norm)."""
    return z * torch.rsqrt(z.square().mean(1, keepdim=True) + EPSILON)


def leaky(x: torch.Tensor) -> torch.Tensor:
    """Return leaky ReLU of ``x`` times sqrt 2, which leaves a mean square of about 1 as it was."""
    return F.leaky_relu(x, SLOPE) * math.sqrt(2)
