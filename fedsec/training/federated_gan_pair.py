"""A client's generator and discriminator in the federated GAN: settings, optimisers, and what a step needs of them.

Jin and Li, *Backdoor Attack is a Devil in Federated GAN-based Medical Image Synthesis*, 2022, sections 2.1, 3.1 and
3.3.  arXiv:2207.00762
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from fedsec.training.federated_gan_augmentation import Augmentation
from fedsec.training.gan_networks import Precision, arithmetic

Loss = Literal["min-max", "wgan-gp"]
GeneratorLoss = Literal["non-saturating", "saturating"]
Interpolation = Literal["uniform", "normal"]
Augment = Literal["none", "ada"]
Reported = Literal["epoch-mean", "last-batch"]


@dataclass(frozen=True, slots=True)
class FederatedGanSettings:
    """How a client trains its pair; the defaults are the paper's.

    Attributes:
        loss: ``"min-max"``, the paper's equation 1; ``"wgan-gp"``, its regularisation of local training.
        epochs: passes over the client's images in a round.
        batch_size: images in a step.
        learning_rate: of both optimisers.
        critic_steps: wgan-gp, steps of the critic for each of the generator. Reference code and, as it replaces only
            the loss, the paper: 1; Gulrajani et al.: 5.
        penalty: wgan-gp, weight lambda of the gradient penalty.
        interpolation: wgan-gp, whence the share of the real image in a mixture comes. ``"uniform"`` is Gulrajani et
            al.'s, from 0 to 1; ``"normal"`` is the reference code's, which is also negative or above 1.
        generator_loss: min-max, see :func:`~fedsec.training.federated_gan_steps.generator_loss`.
        reported: which loss of the generator the server is told, of the last epoch. The paper leaves it open; the
            reference code tells the last batch's.
        precision: ``"bf16"``, ``"float32"``, or ``"auto"``: bf16 where the processor computes in it.
        augment: min-max, whether the discriminator sees its images augmented. Paper and reference code name
            StyleGAN2-ADA and take its generator alone: ``"none"``. ``"ada"`` adds the augmentation.

    Raises:
        ValueError: adaptive augmentation with a critic, whose scores do not tell how well it knows its images.
    """

    loss: Loss = "min-max"
    epochs: int = 1
    batch_size: int = 32
    learning_rate: float = 2e-4
    critic_steps: int = 1
    penalty: float = 10.0
    interpolation: Interpolation = "uniform"
    generator_loss: GeneratorLoss = "non-saturating"
    reported: Reported = "epoch-mean"
    precision: Precision = "auto"
    augment: Augment = "none"

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        if self.augment == "ada" and self.loss != "min-max":
            raise ValueError(f'augment "ada" needs the loss "min-max"; got "{self.loss}".')

    @property
    def batches_in_a_step(self) -> int:
        """Batches of real images for each step of the generator."""
        return self.critic_steps if self.loss == "wgan-gp" else 1


@dataclass(frozen=True, slots=True)
class LocalPair:
    """A generator and its opponent, with their optimisers.

    Attributes:
        generator: from noise (N, latent) to images (N, C, H, W) in [-1, 1].
        discriminator: from such images to logits (N,); the critic of a Wasserstein GAN, to scores.
        generator_optimiser: of the generator.
        discriminator_optimiser: of the discriminator.
        latent: length of the noise.
        noisy: whether the generator draws noise inside, from the generator ``noise`` that it is called with.
        settings: how they train.
        draws: CPU generator of noise and mixtures, so that they are the same on every device.
        autocast: in which arithmetic the networks compute.
        augmentation: of what the discriminator sees, where there is one.
    """

    generator: nn.Module
    discriminator: nn.Module
    generator_optimiser: torch.optim.Optimizer
    discriminator_optimiser: torch.optim.Optimizer
    latent: int
    noisy: bool
    settings: FederatedGanSettings
    draws: torch.Generator
    autocast: Callable[[], torch.autocast]
    augmentation: Augmentation | None

    def fake(self, number: int) -> torch.Tensor:
        """Return ``number`` generated images, (number, C, H, W) float32."""
        z = torch.randn(number, self.latent, generator=self.draws)
        more = {"noise": self.draws} if self.noisy else {}
        with self.autocast():
            images: torch.Tensor = self.generator(z.to(self.device), **more)
        return images.float()

    def shown(self, images: torch.Tensor) -> torch.Tensor:
        """Return real or generated images as the discriminator is to see them."""
        return self.augmentation(images, self.draws) if self.augmentation else images

    def scores(self, *batches: torch.Tensor) -> list[torch.Tensor]:
        """Return what the discriminator gives to each image, (N,) float32 for each batch.

        Each batch goes through by itself: BatchNorm takes its statistics from real or from generated images, never
        from a mixture.
        """
        with self.autocast():
            return [self.discriminator(_fitting(images)).float() for images in batches]

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.generator.parameters()).device


def new_local_pair(
    generator: nn.Module,
    discriminator: nn.Module,
    latent: int,
    settings: FederatedGanSettings,
    draws: torch.Generator,
    device: torch.device,
) -> LocalPair:
    """Return both networks on ``device`` with optimisers that have not stepped yet.

    Min-max: Adam; WGAN-GP: RMSprop (section 3.3). The paper gives their step size alone, so the rest is PyTorch's:
    Adam's betas are 0.9 and 0.999, as the reference code runs it, and not the DCGAN's 0.5.
    """
    for network in (generator, discriminator):
        network.to(device).to(memory_format=torch.channels_last).train()
    return LocalPair(
        generator,
        discriminator,
        _optimiser(generator, settings),
        _optimiser(discriminator, settings),
        latent,
        "noise" in inspect.signature(generator.forward).parameters,
        settings,
        draws,
        arithmetic(settings.precision, device),
        Augmentation() if settings.augment == "ada" else None,
    )


def _optimiser(network: nn.Module, settings: FederatedGanSettings) -> torch.optim.Optimizer:
    if settings.loss == "wgan-gp":
        return torch.optim.RMSprop(network.parameters(), settings.learning_rate, foreach=True)
    return torch.optim.Adam(network.parameters(), settings.learning_rate, fused=True)


def _fitting(images: torch.Tensor) -> torch.Tensor:
    return images.contiguous(memory_format=torch.channels_last)
