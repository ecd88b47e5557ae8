"""More images of a class from the few real ones: the controls that the thesis on GAN balancing lacks."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from fedsec.data.balancing import Counts

Floats = NDArray[np.float64]
Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

DEGREES, SHIFT, SCALE, SHEAR = 10.0, 0.1, (0.9, 1.1), 5.0
"""How far :func:`moved` turns (degrees), shifts (share of the side), scales and shears (degrees) an image at most."""

AT_ONCE = 1024
"""Images that are moved at once; more of them do not fit into the memory near a core."""


def repeated(images: Images, labels: Labels, wanted: Counts, rng: np.random.Generator) -> tuple[Images, Labels]:
    """Return ``wanted`` (C,) more images of each class, copies of those that there are, and their labels.

    All images of a class are copied equally often, but for the rest, which is drawn without replacement.

    Args:
        images: (N, C, H, W) uint8.
        labels: (N,) their classes.
        wanted: (C,) how many images of each class to make; 0 where there is none to copy.
        rng: source of the draw.
    """
    chosen = _drawn(labels, wanted, rng)
    return images[chosen], labels[chosen]


def moved(images: Images, labels: Labels, wanted: Counts, rng: np.random.Generator) -> tuple[Images, Labels]:
    """Return what :func:`repeated` does, each copy turned, shifted, scaled and sheared a little.

    Edges are filled with the image's own border, so that no black bar tells a copy from an original.
    """
    chosen = _drawn(labels, wanted, rng)
    number = len(chosen)
    height, width = images.shape[2:]
    angles, shears = (np.radians(rng.uniform(-most, most, number)) for most in (DEGREES, SHEAR))
    shifts, scales = rng.uniform(-SHIFT, SHIFT, (number, 2)) * (width, height), rng.uniform(*SCALE, number)
    made = np.empty((number, *images.shape[1:]), np.uint8)
    for first in range(0, number, AT_ONCE):
        part = slice(first, first + AT_ONCE)
        made[part] = placed(images[chosen[part]], angles[part], shifts[part], scales[part], shears[part])
    return made, labels[chosen]


def placed(images: Images, angles: Floats, shifts: Floats, scales: Floats, shears: Floats) -> Images:
    """Return images (N, C, H, W), each moved about its centre by an affine map, between pixels bilinearly.

    Args:
        images: (N, C, H, W).
        angles: (N,) by which each is turned clockwise, in radians.
        shifts: (N, 2) by which each is then shifted, in pixels to the right and down.
        scales: (N,) by which each is enlarged.
        shears: (N,) by which each is sheared along x, first of all, in radians.
    """
    height, width = images.shape[2:]
    cosine, sine, slant = np.cos(angles), np.sin(angles), np.tan(shears)
    rows = [cosine, -cosine * slant - sine], [sine, -sine * slant + cosine]
    back = np.linalg.inv(scales[:, None, None] * np.array(rows).transpose(2, 0, 1))
    offset = -back @ shifts[:, :, None]
    half = np.array([width / 2, height / 2])  # torch's coordinates are in halves of the sides
    whole = np.concatenate([back * half, offset], axis=2) / half[:, None]
    grid = F.affine_grid(torch.from_numpy(whole.astype(np.float32)), list(images.shape), align_corners=False)
    floats = torch.from_numpy(images).float()
    made = F.grid_sample(floats, grid, mode="bilinear", padding_mode="border", align_corners=False)
    result: Images = made.round_().to(torch.uint8).numpy()
    return result


def _drawn(labels: Labels, wanted: Counts, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return which examples are copied, ascending by class."""
    chosen = [np.empty(0, np.int64)]
    for label, number in enumerate(wanted.tolist()):
        mine = np.flatnonzero(labels == label)
        if number and not len(mine):
            raise ValueError(f"class {label} has no image to copy; got {number} as wanted")
        if number:
            whole, rest = divmod(number, len(mine))
            chosen += [np.tile(mine, whole), rng.permutation(mine)[:rest]]
    return np.concatenate(chosen)
