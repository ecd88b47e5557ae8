"""A small problem that a network can learn in moments."""

import pytest
import torch

from fedsec.training.batches import Normalisation

Problem = tuple[torch.Tensor, torch.Tensor, Normalisation]


@pytest.fixture
def problem() -> Problem:
    """Return 40 grey images of 12 x 12, noise plus a bright quarter that is their class, 0 to 3."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 4
    images = torch.randint(0, 100, (40, 1, 12, 12), generator=generator, dtype=torch.uint8)
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = 6 * (label // 2), 6 * (label % 2)
        image[:, row : row + 6, column : column + 6] += 150
    return images, labels, Normalisation((0.35,), (0.25,))
