"""Images as bytes on a device, and batches of them as normalised floats."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Mean and standard deviation of each channel, in units of the full range (0 to 1)."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return bytes (N, C, H, W) as normalised float32, in channels_last memory."""
        shape = (1, -1, 1, 1)
        mean = torch.tensor(self.mean, device=images.device).mul_(255).view(shape)
        std = torch.tensor(self.std, device=images.device).mul_(255).view(shape)
        return images.float().sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)


def values_of_bytes(normalise: Normalisation) -> NDArray[np.float32]:
    """Return what ``normalise`` makes of every byte in each channel, (C, 256)."""
    every = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1).expand(-1, len(normalise.mean), 1, 1)
    values: NDArray[np.float32] = normalise(every).view(256, -1).t().contiguous().numpy()
    return values


def on_device(
    images: NDArray[np.uint8], labels: NDArray[np.int64], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images (N, C, H, W) and labels (N,) as tensors on ``device``, still bytes."""
    return torch.from_numpy(np.array(images)).to(device), torch.from_numpy(np.array(labels)).to(device)


def epoch_order(examples: int, most: int, generator: torch.Generator) -> torch.Tensor:
    """Return which of so many examples an epoch takes, in which order: all of them, or at most ``most`` (0: all)."""
    return torch.randperm(examples, generator=generator)[: most or examples]


def shuffled_batches(
    images: torch.Tensor, labels: torch.Tensor, batch_size: int, generator: torch.Generator, most: int = 0
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the examples of an epoch (:func:`epoch_order`) in batches; the last one may be smaller.

    The order is drawn on the CPU, so that it is the same on every device.
    """
    order = epoch_order(len(labels), most, generator).to(images.device)
    for chosen in torch.split(order, batch_size):
        yield images[chosen], labels[chosen]
