"""Moves of images at random: flips, turns, shifts and scales, in one look-up of pixels.

Karras et al., *Training Generative Adversarial Networks with Limited Data*, NeurIPS 2020, appendix B: pixel blitting
and general geometric transformations.  arXiv:2006.06676
"""

import math
from dataclasses import replace
from functools import reduce

import torch
from torch.nn import functional as F

from fedsec.training.chance import Chance

SHIFT = 0.125
"""Share of the side: the largest shift by whole pixels, and the deviation of the others."""

OCTAVES = 0.2
"""Deviation of the scales' binary logarithms."""


def random_moves(chance: Chance, height: int, width: int) -> torch.Tensor:
    """Return a move (N, 3, 3) for each image, in pixels from its centre, x to the right and y down; float64.

    A turn before the stretch and one after it have together the probability p of every other move:
    1 - (1 - q)^2 = p for q = 1 - sqrt(1 - p).
    """
    turn = replace(chance, p=1 - math.sqrt(1 - chance.p))
    side = torch.tensor([[width], [height]], dtype=torch.float64)
    moves = [
        scale(1 - 2 * chance.integers(2), torch.ones(chance.number)),
        rotation(chance.integers(4) * (math.pi / 2)),
        translation(*(chance.uniforms(2) * SHIFT * side).round()),
    ]
    (octaves,) = chance.normals(1) * OCTAVES
    moves += [scale(octaves.exp2(), octaves.exp2()), rotation(turn.uniforms(1)[0] * math.pi)]
    (octaves,) = chance.normals(1) * OCTAVES
    moves += [scale(octaves.exp2(), (-octaves).exp2()), rotation(turn.uniforms(1)[0] * math.pi)]
    moves += [translation(*chance.normals(2) * SHIFT * side)]
    return reduce(lambda before, after: after @ before, moves)


def moved(images: torch.Tensor, moves: torch.Tensor) -> torch.Tensor:
    """Return ``images`` (N, C, H, W) after ``moves`` (N, 3, 3), mirrored at their edges; gradients pass through, once.

    Deviation: the paper samples at twice the resolution through wavelet filters of twelve taps, which at 16 to 64
    pixels would reach across a good part of the image. Here it is bilinear; whole pixels are copied alike.

    On a GPU the gradients are summed in no fixed order, so that their last bits are not the same twice.
    """
    height, width = images.shape[2:]
    side = moves.new_tensor([width / 2, height / 2, 1])
    sources = torch.linalg.inv(moves) * side / side[:, None]
    grid = F.affine_grid(sources[:, :2].to(images), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def scale(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return moves (N, 3, 3) that stretch by ``x`` (N,) and ``y`` (N,); a negative factor flips."""
    zero = torch.zeros_like(x)
    return _affine([x, zero, zero], [zero, y, zero])


def rotation(angle: torch.Tensor) -> torch.Tensor:
    """Return moves (N, 3, 3) that turn by ``angle`` (N,) in radians, clockwise as y points down."""
    cosine, sine = angle.cos(), angle.sin()
    zero = torch.zeros_like(angle)
    return _affine([cosine, -sine, zero], [sine, cosine, zero])


def translation(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return moves (N, 3, 3) by ``x`` (N,) pixels to the right and ``y`` (N,) down."""
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _affine([one, zero, x], [zero, one, y])


def _affine(first: list[torch.Tensor], second: list[torch.Tensor]) -> torch.Tensor:
    zero, one = torch.zeros_like(first[0]), torch.ones_like(first[0])
    rows = [torch.stack(row, 1) for row in (first, second, [zero, zero, one])]
    return torch.stack(rows, 1).double()
