"""Convolutions whose weights are scaled by a style, the layers of StyleGAN2's generator.

Karras et al., *Analyzing and Improving the Image Quality of StyleGAN*, CVPR 2020, section 2.2 and appendix B.
arXiv:1912.04958
Zhang, *Making Convolutional Networks Shift-Invariant Again*, ICML 2019: the low-pass filter.  arXiv:1904.11486
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from fedsec.models.style_mapping import EPSILON, Dense, leaky

LOW_PASS = (1.0, 3.0, 3.0, 1.0)
"""The filter along each axis, up to its gain."""


class StyledConvolution(nn.Module):
    """A modulated and demodulated convolution of 3 x 3, then noise of a learned strength, bias and leaky ReLU.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        style: length of a style.
        up: whether the side doubles.
    """

    def __init__(self, inputs: int, outputs: int, style: int, *, up: bool = False) -> None:
        super().__init__()
        self.up, self.gain = up, 1 / math.sqrt(9 * inputs)
        self.scales = Dense(style, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: torch.Tensor, styles: torch.Tensor, noise: torch.Generator | None) -> torch.Tensor:
        """Return (N, outputs, H or 2 H, W or 2 W) from ``x`` (N, inputs, H, W) and ``styles`` (N, style).

        The noise, one number per pixel, is drawn from ``noise``, a generator of the CPU; ``None`` is no noise.
        """
        x = modulated_convolution(x, self.weight * self.gain, self.scales(styles), up=self.up)
        if noise is not None:
            drawn = torch.randn(len(x), 1, *x.shape[2:], generator=noise, dtype=torch.float32)
            x = x + self.strength * drawn.to(x)
        return leaky(x + self.bias[:, None, None])


class ToImage(nn.Module):
    """The colours of every pixel: a modulated convolution of 1 x 1 without demodulation, and a bias.

    Args:
        inputs: channels that come in.
        channels: channels of an image.
        style: length of a style.
    """

    def __init__(self, inputs: int, channels: int, style: int) -> None:
        super().__init__()
        self.gain = 1 / math.sqrt(inputs)
        self.scales = Dense(style, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor, styles: torch.Tensor) -> torch.Tensor:
        """Return (N, channels, H, W) from ``x`` (N, inputs, H, W) and ``styles`` (N, style)."""
        x = modulated_convolution(x, self.weight * self.gain, self.scales(styles), demodulate=False)
        return x + self.bias[:, None, None]


def modulated_convolution(
    x: torch.Tensor, weight: torch.Tensor, scales: torch.Tensor, *, demodulate: bool = True, up: bool = False
) -> torch.Tensor:
    """Return ``x`` (N, I, H, W) convolved with ``weight`` (O, I, k, k), scaled by each image's ``scales`` (N, I).

    With s an image's scales, its weights are w'_oik = s_i w_oik, and demodulated w'_oik / sqrt(sum_ik w'_oik^2 + e)
    (equations 1 and 3), so that inputs of unit variance have outputs of unit variance. With ``up`` the side doubles.

    A convolution is linear: the channels are scaled by s before it and by the root after it, and all images go through
    one convolution. One of the images' own weights, in groups, takes three times as long on a CPU where images are
    small and channels are many, as long where they are large and few, and the memory of N weights.
    """
    x = x * scales[:, :, None, None]
    x = _up_convolved(x, weight) if up else F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    if demodulate:
        squares = scales.square() @ weight.square().sum((2, 3)).T
        x = x * torch.rsqrt(squares + EPSILON)[:, :, None, None]
    return x


def upsampled(images: torch.Tensor) -> torch.Tensor:
    """Return ``images`` (N, C, H, W) at twice the side: zeros between the pixels, then the low-pass filter."""
    channels = images.shape[1]
    return F.conv_transpose2d(images, _low_pass(images, channels), stride=2, padding=1, groups=channels)


def _up_convolved(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return ``x`` (N, I, H, W) upsampled and convolved with the mirrored ``weight`` (O, I, 3, 3).

    Filter and convolution change places, so that the convolution is a transposed one and skips the zeros: a quarter of
    the multiplications, and half the time.
    """
    x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    return F.conv2d(x, _low_pass(x, x.shape[1]), padding=1, groups=x.shape[1])


def _low_pass(like: torch.Tensor, channels: int) -> torch.Tensor:
    """Return the filter (channels, 1, 4, 4) whose sum is 4, for one pixel of four that is not zero."""
    line = like.new_tensor(LOW_PASS) / sum(LOW_PASS) * 2
    return torch.outer(line, line).expand(channels, 1, 4, 4)
