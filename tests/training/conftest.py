"""A small problem that a network can learn in moments, and networks of any kind."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from fedsec.training.batches import Normalisation

Problem = tuple[torch.Tensor, torch.Tensor, Normalisation]


class Network(nn.Module):
    """Layers, and a function of the network and its images that says what is done with them."""

    def __init__(self, forward: Callable[[Any, torch.Tensor], Any], **layers: nn.Module) -> None:
        super().__init__()
        self.compute = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, images: torch.Tensor) -> Any:
        return self.compute(self, images)


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
