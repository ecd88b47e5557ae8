"""One step of a conditional GAN, and one of a conditional Wasserstein GAN with gradient penalty.

Goodfellow et al., *Generative Adversarial Nets*, 2014.  arXiv:1406.2661
Nowozin, Cseke and Tomioka, *f-GAN*, 2016, Algorithm 1: both networks descend at one point.  arXiv:1606.00709
Gulrajani et al., *Improved Training of Wasserstein GANs*, 2017.  arXiv:1704.00028
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from fedsec.training.gan_batches import BalancedBatches, as_floats, random_shifts, shifted

Losses = tuple[torch.Tensor, torch.Tensor]
Scores = Callable[..., torch.Tensor]

CERTAIN = 40.0
"""A logit beyond which a discriminator's certainty is taken for this one, so that its odds stay within float32."""


@dataclass(slots=True)
class Pair:
    """A generator and its opponent, their optimisers, and what they train on.

    Attributes:
        generator: from noise and labels to images in [-1, 1].
        critic: from images and labels to scores, each image's its own alone; a discriminator's are logits.
        generator_optimiser: of the generator.
        critic_optimiser: of the critic.
        batches: the client's images.
        latent: length of the noise.
        shift: pixels by which real and generated images are moved.
        draws: CPU generator of noise, shifts and mixtures, so that they are the same on every device.
        autocast: in which arithmetic the networks compute.
    """

    generator: nn.Module
    critic: nn.Module
    generator_optimiser: torch.optim.Optimizer
    critic_optimiser: torch.optim.Optimizer
    batches: BalancedBatches
    latent: int
    shift: int
    draws: torch.Generator
    autocast: Callable[[], torch.autocast]

    def real(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the next batch of real images, moved, in [-1, 1], and their classes."""
        images, labels = self.batches.next()
        return as_floats(self.moved(images)), labels

    def fake(self, labels: torch.Tensor) -> torch.Tensor:
        """Return a generated image for each label, moved."""
        z = torch.randn(len(labels), self.latent, generator=self.draws).to(labels.device)
        with self.autocast():
            images: torch.Tensor = self.generator(z, labels)
        return self.moved(images.float())

    def moved(self, images: torch.Tensor) -> torch.Tensor:
        """Return images moved at random; real and generated ones alike, or the critic would learn the difference."""
        if not self.shift:
            return images
        return shifted(images, random_shifts(len(images), self.shift, self.draws))

    def scores(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return what the critic gives to each image, (N,) float32."""
        with self.autocast():
            scores: torch.Tensor = self.critic(images.contiguous(memory_format=torch.channels_last), labels)
        return scores.float()


def min_max_step(pair: Pair) -> Losses:
    """Train both networks once, and return the losses of generator and discriminator.

    The discriminator minimises -log D(x) - log(1 - D(G(z))), the generator -log D(G(z)) (non-saturating), both from
    the same point, so that one pass through the discriminator serves both: with s the logit of a generated image, the
    gradients of the two losses with respect to that image are sigmoid(s) s' and -sigmoid(-s) s', and the second is
    -exp(-s) times the first.
    """
    real, labels = pair.real()
    fake = pair.fake(labels)
    images = fake.detach().requires_grad_()
    on_real, on_fake = pair.scores(torch.cat([real, images]), labels.repeat(2)).chunk(2)
    critic_loss = discriminator_loss(on_real, on_fake)
    on_fake = on_fake.detach()
    pair.critic_optimiser.zero_grad(set_to_none=True)
    pair.generator_optimiser.zero_grad(set_to_none=True)
    critic_loss.backward()  # type: ignore[no-untyped-call]
    odds = torch.exp(-on_fake.clamp(-CERTAIN, CERTAIN))
    fake.backward(cast(torch.Tensor, images.grad) * -odds[:, None, None, None])  # type: ignore[no-untyped-call]
    pair.critic_optimiser.step()
    pair.generator_optimiser.step()
    return F.softplus(-on_fake).mean(), critic_loss.detach()


def wasserstein_step(pair: Pair, critic_steps: int, penalty: float) -> Losses:
    """Train the critic ``critic_steps`` times and the generator once; return the losses of generator and critic.

    The critic minimises E C(G(z)) - E C(x) + penalty * P, the generator -E C(G(z)).
    """
    for _ in range(critic_steps):
        real, labels = pair.real()
        with torch.no_grad():
            fake = pair.fake(labels)
        on_real, on_fake = pair.scores(torch.cat([real, fake]), labels.repeat(2)).chunk(2)
        mixture = torch.rand(len(real), 1, 1, 1, generator=pair.draws).to(real.device)
        between = mixture * real + (1 - mixture) * fake
        critic_loss = wasserstein_loss(on_real, on_fake) + penalty * gradient_penalty(pair.scores, between, labels)
        descend(pair.critic_optimiser, critic_loss)
    pair.critic.requires_grad_(False)
    generator_loss = -pair.scores(pair.fake(labels), labels).mean()
    descend(pair.generator_optimiser, generator_loss)
    pair.critic.requires_grad_(True)
    return generator_loss.detach(), critic_loss.detach()


def discriminator_loss(on_real: torch.Tensor, on_fake: torch.Tensor) -> torch.Tensor:
    """Return -E log D(x) - E log(1 - D(G(z))), from the logits of real and generated images."""
    return F.softplus(-on_real).mean() + F.softplus(on_fake).mean()


def wasserstein_loss(on_real: torch.Tensor, on_fake: torch.Tensor) -> torch.Tensor:
    """Return E C(G(z)) - E C(x), from the scores of real and generated images; its negative estimates a distance."""
    return on_fake.mean() - on_real.mean()


def gradient_penalty(scores: Scores, images: torch.Tensor, *labels: torch.Tensor) -> torch.Tensor:
    """Return P = E (|grad C(x)| - 1)^2 over ``images`` (N, C, H, W), each one's L2 norm; differentiable.

    Args:
        scores: C, of the images, and of their labels where it takes any.
        images: x.
        labels: (N,) their classes, or nothing.
    """
    images = images.detach().requires_grad_()
    (slope,) = torch.autograd.grad(scores(images, *labels).sum(), images, create_graph=True)
    penalty: torch.Tensor = (slope.flatten(1).norm(dim=1) - 1).square().mean()
    return penalty


def descend(optimiser: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    """Take one step of the optimiser down the gradient of ``loss``."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
