"""Features of images, batch by batch, by whichever extractor."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from fedsec.metrics.generation import Features, ScoreError

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


class Extractor(Protocol):
    """Makes features of images; its name tells it from every other one."""

    @property
    def name(self) -> str:
        """Return the name that its features carry."""

    def __call__(self, images: Images) -> Features:
        """Return the features of ``images`` (N, C, H, W) uint8."""


def check_images(images: Images) -> None:
    """Check that ``images`` are what every extractor takes.

    Raises:
        ScoreError: they are not (N, C, H, W) uint8 with N >= 1.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
        raise ScoreError(
            f"images must be uint8 of shape (images, channels, height, width), at least one; "
            f"got {images.dtype} of shape {images.shape}"
        )


def check_labels(images: Images, labels: Labels, num_classes: int) -> None:
    """Check that checked ``images`` (N, C, H, W) have one of ``num_classes`` classes each.

    Raises:
        ScoreError: ``labels`` are not (N,), or a class is none.
    """
    if labels.shape != (len(images),) or labels.min() < 0 or labels.max() >= num_classes:
        raise ScoreError(
            f"labels must be ({len(images)},) with classes 0 to {num_classes - 1}; "
            f"got shape {labels.shape}, {labels.min()} to {labels.max()}"
        )


@torch.no_grad()
def extract(
    compute: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    images: Images,
    batch_size: int,
    device: torch.device,
    name: str,
) -> Features:
    """Return the features of checked ``images``.

    Args:
        compute: from a batch of bytes on ``device`` to activations (B, D) and logits (B, C).
        images: (N, C, H, W) uint8.
        batch_size: images in a batch.
        device: where to compute.
        name: of the extractor.
    """
    pairs = []
    for start in range(0, len(images), batch_size):
        batch = torch.from_numpy(np.array(images[start : start + batch_size])).to(device)
        pairs.append([rows.cpu() for rows in compute(batch)])
    activations, logits = (torch.cat(rows).numpy() for rows in zip(*pairs, strict=True))
    return Features(activations, logits, name)
