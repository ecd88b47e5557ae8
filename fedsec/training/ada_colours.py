"""Colours of images changed at random: brightness, contrast, luma, hue and saturation, in one linear map.

Karras et al., *Training Generative Adversarial Networks with Limited Data*, NeurIPS 2020, appendix B: colour
transformations.  arXiv:2006.06676
"""

import math

import torch

from fedsec.training.chance import Chance

BRIGHTNESS = 0.2
"""Deviation of what is added, where the range of colours is 2."""

CONTRAST_OCTAVES = 0.5
SATURATION_OCTAVES = 1.0


def random_colours(chance: Chance, channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return for each image a map of colours (N, channels, channels) and what is added before it (N,); float64.

    One channel has brightness, contrast and luma alone.
    """
    (added,) = chance.normals(1) * BRIGHTNESS
    (octaves,) = chance.normals(1) * CONTRAST_OCTAVES
    maps = luma_flip(chance.integers(2), channels) * octaves.exp2()[:, None, None]
    if channels == 3:
        maps = hue(chance.uniforms(1)[0] * math.pi) @ maps
        maps = saturation((chance.normals(1)[0] * SATURATION_OCTAVES).exp2()) @ maps
    return maps, added


def coloured(images: torch.Tensor, maps: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
    """Return ``images`` (N, C, H, W), each colour x as M (x + b); ``maps`` are M (N, C, C) and ``added`` is b (N,)."""
    brighter = images + added.to(images)[:, None, None, None]
    return (maps.to(images) @ brighter.flatten(2)).view(images.shape)


def luma_flip(flips: torch.Tensor, channels: int) -> torch.Tensor:
    """Return maps I - 2 v v' (N, channels, channels), v the direction of grey, where ``flips`` (N,) is 1; else I."""
    return torch.eye(channels, dtype=torch.float64) - 2 * flips[:, None, None] * _grey(channels)


def hue(angle: torch.Tensor) -> torch.Tensor:
    """Return maps (N, 3, 3) that turn colours about the direction of grey by ``angle`` (N,) in radians."""
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    across = torch.tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], dtype=torch.float64) / math.sqrt(3)
    return cosine * torch.eye(3, dtype=torch.float64) + sine * across + (1 - cosine) * _grey(3)


def saturation(factor: torch.Tensor) -> torch.Tensor:
    """Return maps v v' + s (I - v v') (N, 3, 3): what is not grey is multiplied by ``factor`` s (N,)."""
    return _grey(3) + factor[:, None, None] * (torch.eye(3, dtype=torch.float64) - _grey(3))


def _grey(channels: int) -> torch.Tensor:
    """Return v v' (channels, channels), which leaves of a colour its grey."""
    return torch.full((channels, channels), 1 / channels, dtype=torch.float64)
