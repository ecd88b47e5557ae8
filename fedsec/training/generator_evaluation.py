"""What the server measures of a generator: scores of what it makes beside real images, and a picture of it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedsec.metrics.generation import Features, ScoreError, generation_scores
from fedsec.training.extraction import Extractor
from fedsec.training.gan_batches import as_bytes
from fedsec.training.parameters import set_arrays

Images = NDArray[np.uint8]

PIXELS = 250 * 32**2
"""Pixels generated at a time, on each channel: 250 images of 32 x 32, or 3 of 256 x 256."""


def at_once(side: int) -> int:
    """Return how many images of ``side`` x ``side`` pixels are generated at a time: a large layer fills a memory."""
    return max(1, PIXELS // side**2)


class GeneratorEvaluator:
    """Draws the same images (of the same noise) of every global generator, and scores them.

    Args:
        network: the generator; its weights are replaced in every call.
        latent: length of its noise.
        real: (M, C, H, W) uint8, the images to compare with.
        extractors: what makes features of images.
        images: how many to draw.
        seed: of the noise.
        device: where to compute.
    """

    def __init__(
        self,
        network: nn.Module,
        latent: int,
        real: Images,
        extractors: Sequence[Extractor],
        images: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self.network = network.to(device).to(memory_format=torch.channels_last).eval()
        self.noise = torch.randn(images, latent, generator=torch.Generator().manual_seed(seed))
        self.extractors, self.device = extractors, device
        self.block = at_once(real.shape[2])
        self.real: list[Features] = [extract(np.asarray(real)) for extract in extractors]

    @torch.no_grad()
    def draw(self, arrays: Mapping[str, NDArray[np.generic]], number: int | None = None) -> Images:
        """Return the images (K, C, H, W) uint8 of the generator with these arrays, or the first ``number`` of them."""
        set_arrays(self.network, [arrays[name] for name in self.network.state_dict()])
        self.network.eval()
        blocks = torch.split(self.noise[:number], self.block)
        made = [as_bytes(self.network(block.to(self.device))).cpu().contiguous().numpy() for block in blocks]
        return np.concatenate(made)

    def scores(self, images: Images) -> list[dict[str, Any]]:
        """Return the scores of images by each extractor; where there is none, why: it must not end a run."""
        return [_scored(images, *pair) for pair in zip(self.extractors, self.real, strict=True)]


def _scored(images: Images, extract: Extractor, real: Features) -> dict[str, Any]:
    try:
        return asdict(generation_scores(extract(images), real))
    except ScoreError as error:
        return {"features": extract.name, "error": str(error)}
