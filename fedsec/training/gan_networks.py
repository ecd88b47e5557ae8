"""The two networks of a client's GAN as its settings describe them, ready to train."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedsec.models.cgan import Discriminator, Generator
from fedsec.models.drawing import drawn_from
from fedsec.training.gan_batches import BalancedBatches
from fedsec.training.gan_steps import Pair

Kind = Literal["cgan", "cwgan"]
Precision = Literal["auto", "bf16", "float32"]

BETAS: dict[Kind, tuple[float, float]] = {"cgan": (0.5, 0.999), "cwgan": (0.0, 0.9)}
"""Adam's: those of the DCGAN, and those of the paper on the gradient penalty."""


@dataclass(frozen=True, slots=True)
class GanSettings:
    """How a client's GAN is built and trained.

    Attributes:
        kind: ``"cgan"``, conditional GAN; ``"cwgan"``, conditional Wasserstein GAN with gradient penalty.
        steps: of the generator.
        batch_size: images in a step.
        learning_rate: of Adam, for both networks.
        latent: length of the noise z.
        width: channels of the widest layer.
        shift: pixels by which real and generated images are moved at random.
        critic_steps: cwgan, steps of the critic for each of the generator.
        penalty: cwgan, weight lambda of the gradient penalty.
        precision: ``"bf16"``, ``"float32"``, or ``"auto"``: bf16 where the processor computes in it.
    """

    kind: Kind = "cgan"
    steps: int = 600
    batch_size: int = 64
    learning_rate: float = 0.002
    latent: int = 64
    width: int = 32
    shift: int = 2
    critic_steps: int = 5
    penalty: float = 10.0
    precision: Precision = "auto"


def build_generator(channels: int, size: int, num_classes: int, settings: GanSettings) -> nn.Module:
    """Return a generator for the weights of a trained one, in eval mode."""
    return Generator(channels, size, num_classes, settings.latent, settings.width).eval()


def new_pair(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    num_classes: int,
    settings: GanSettings,
    seed: int,
    device: torch.device,
) -> Pair:
    """Return both networks with their first weights, their optimisers, and the images (N, C, H, W) on the device."""
    channels, size = images.shape[1], images.shape[2]
    weights, shown, drawn = (int(part) for part in np.random.default_rng(seed).integers(2**63 - 1, size=3))
    with drawn_from(weights):
        generator = Generator(channels, size, num_classes, settings.latent, settings.width)
        critic = Discriminator(channels, size, num_classes, settings.width)
    generator.trained[torch.from_numpy(np.unique(labels))] = True
    for network in (generator, critic):
        network.to(device).to(memory_format=torch.channels_last).train()
    batches = BalancedBatches(
        torch.from_numpy(np.array(images)).to(device),
        torch.from_numpy(np.array(labels)),
        settings.batch_size,
        torch.Generator().manual_seed(shown),
    )
    return Pair(
        generator,
        critic,
        _adam(generator, settings),
        _adam(critic, settings),
        batches,
        settings.latent,
        settings.shift,
        torch.Generator().manual_seed(drawn),
        arithmetic(settings.precision, device),
    )


def arithmetic(precision: Precision, device: torch.device) -> Callable[[], torch.autocast]:
    """Return the context in which the networks compute: bf16, or float32 as it is."""
    return partial(torch.autocast, device.type, torch.bfloat16, computes_in_bf16(precision, device))


def computes_in_bf16(precision: Precision, device: torch.device) -> bool:
    """Tell whether the networks compute in bf16: with ``"auto"`` where the processor does."""
    native = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
    return precision == "bf16" or (precision == "auto" and native)


def _adam(network: nn.Module, settings: GanSettings) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), settings.learning_rate, BETAS[settings.kind], fused=True)
