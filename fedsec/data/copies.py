"""More images of a class from the few real ones: the controls that the thesis on GAN balancing lacks."""

import numpy as np
import torch
from numpy.typing import NDArray

from fedsec.data.balancing import Counts

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

DEGREES, SHIFT, SCALE, SHEAR = 10.0, 0.1, (0.9, 1.1), 5.0
"""How far :func:`moved` turns (degrees), shifts (share of the side), scales and shears (degrees) an image at most."""


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
    """Return what :func:`repeated` does, each copy turned, shifted, scaled and sheared a little (torchvision v2).

    Edges are filled with the image's own border, so that no black bar tells a copy from an original.
    """
    from torchvision.transforms import v2  # here: it takes seconds to import

    chosen = _drawn(labels, wanted, rng)
    copies = torch.from_numpy(images[chosen])
    side = images.shape[-1]
    margin = side // 2  # a corner that is turned, sheared and shifted at once comes from so far outside
    pad = v2.Pad(margin, padding_mode="edge")
    shift = SHIFT * side / (side + 2 * margin)  # torchvision's is a share of what it moves, the border with it
    move = v2.RandomAffine(DEGREES, (shift, shift), SCALE, SHEAR, v2.InterpolationMode.BILINEAR)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**63 - 1)))
        made = [move(pad(copy))[:, margin:-margin, margin:-margin] for copy in copies]
    return (torch.stack(made).numpy() if made else images[:0]), labels[chosen]


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
