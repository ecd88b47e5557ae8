"""What real images have in common, for whoever makes images that a classifier takes for real ones.

A classifier alone is a poor guide: it is as sure of scattered dots as of a stroke. Rebuilt images are therefore held
smooth, and seen at another place in every step, so that no pattern which holds at a single place alone is of use.
Mahendran and Vedaldi, *Understanding Deep Image Representations by Inverting Them*, CVPR 2015, arXiv:1412.0035, have
the smoothness; Yin et al., *Dreaming to Distill*, CVPR 2020, arXiv:1912.08795, section 3.1, both.
"""

import torch
from torch.nn import functional as F


def total_variation(images: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute difference between neighbours, down plus across: anisotropic total variation a pixel.

    Args:
        images: (N, C, H, W), in units of their own, at least two pixels high and wide.
    """
    down = (images[:, :, 1:] - images[:, :, :-1]).abs().mean()
    across = (images[..., 1:] - images[..., :-1]).abs().mean()
    return down + across


def shifted(images: torch.Tensor, down: int, across: int) -> torch.Tensor:
    """Return images moved by whole pixels; what comes in at an edge repeats the edge.

    Args:
        images: (N, C, H, W).
        down: pixels; negative ones move up.
        across: pixels to the right; negative ones move to the left.
    """
    if not down and not across:
        return images
    height, width = images.shape[2:]
    most, wide = abs(down), abs(across)
    padded = F.pad(images, (wide, wide, most, most), mode="replicate")
    return padded[:, :, most - down : most - down + height, wide - across : wide - across + width]
