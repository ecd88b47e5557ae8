"""One step of a client's GAN: the min-max loss, and the Wasserstein loss with gradient penalty.

Jin and Li, *Backdoor Attack is a Devil in Federated GAN-based Medical Image Synthesis*, 2022, equation 1 and
Algorithm 1, lines 6 and 7: the discriminator first, the generator against the new one.  arXiv:2207.00762
Goodfellow et al., *Generative Adversarial Nets*, 2014.  arXiv:1406.2661
Gulrajani et al., *Improved Training of Wasserstein GANs*, 2017, Algorithm 1.  arXiv:1704.00028
"""

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from fedsec.training.federated_gan_pair import GeneratorLoss, Interpolation, LocalPair
from fedsec.training.gan_steps import Losses, descend, discriminator_loss, gradient_penalty, wasserstein_loss


def local_step(pair: LocalPair, batches: Sequence[torch.Tensor]) -> Losses:
    """Train the discriminator on each of ``batches`` and the generator once; return the generator's and its loss.

    Args:
        pair: the networks.
        batches: real images (N, C, H, W) in [-1, 1]; one of them for min-max.
    """
    return wasserstein_step(pair, batches) if pair.settings.loss == "wgan-gp" else min_max_step(pair, *batches)


def min_max_step(pair: LocalPair, real: torch.Tensor) -> Losses:
    """Train the discriminator once, then the generator against it, and return the losses of generator and other.

    The discriminator minimises -E log D(x) - E log(1 - D(G(z))).

    Deviation: Goodfellow et al. draw new noise for the generator's half. Here, as is usual with DCGANs, both halves
    see the same generated images, which saves one of two passes through the generator.
    """
    fake = pair.fake(len(real))
    on_real, on_fake = pair.scores(pair.shown(real), pair.shown(fake.detach()))
    critic_loss = discriminator_loss(on_real, on_fake)
    descend(pair.discriminator_optimiser, critic_loss)
    if pair.augmentation:
        pair.augmentation.observe(on_real)
    loss = _train_generator(pair, fake)
    return loss, critic_loss.detach()


def wasserstein_step(pair: LocalPair, batches: Sequence[torch.Tensor]) -> Losses:
    """Train the critic on each batch, then the generator once; return the losses of generator and critic.

    The critic minimises E C(G(z)) - E C(x) + penalty * E (|grad C(u)| - 1)^2, where u = a x + (1 - a) G(z); the
    generator -E C(G(z)). Every half draws its own noise.
    """
    for real in batches:
        with torch.no_grad():
            fake = pair.fake(len(real))
        share = shares(len(real), pair.settings.interpolation, pair.draws).to(real.device)
        between = share * real + (1 - share) * fake
        penalty = gradient_penalty(lambda images: pair.scores(images)[0], between)
        critic_loss = wasserstein_loss(*pair.scores(real, fake)) + pair.settings.penalty * penalty
        descend(pair.discriminator_optimiser, critic_loss)
    return _train_generator(pair, pair.fake(len(real))), critic_loss.detach()


def generator_loss(on_fake: torch.Tensor, reading: GeneratorLoss) -> torch.Tensor:
    """Return what the generator of the min-max loss minimises, from the logits of generated images.

    ``"non-saturating"``: -E log D(G(z)), binary cross entropy against the label "real", which is the reference code's
    and usual. It is also, but for a constant, what the generator minimises in the paper's equation 1 as it is printed,
    E [1 - log D(G(z))].
    ``"saturating"``: E log(1 - D(G(z))), the equation of Goodfellow et al. that the paper cites. It is never positive,
    and near 0 for a generator that its opponent sees through.
    """
    return F.softplus(-on_fake).mean() if reading == "non-saturating" else -F.softplus(on_fake).mean()


def opposed(pair: LocalPair, fake: torch.Tensor) -> torch.Tensor:
    """Return the generator's loss on the images ``fake`` that it made, whatever the pair's loss is."""
    (on_fake,) = pair.scores(pair.shown(fake))
    return -on_fake.mean() if pair.settings.loss == "wgan-gp" else generator_loss(on_fake, pair.settings.generator_loss)


def shares(number: int, interpolation: Interpolation, draws: torch.Generator) -> torch.Tensor:
    """Return the shares a of the real images in ``number`` mixtures, (number, 1, 1, 1).

    Deviation of the reference code: they are normally distributed there, so that mixtures lie about the generated
    image, on both its sides, and not between it and the real one.
    """
    draw = torch.rand if interpolation == "uniform" else torch.randn
    return draw(number, 1, 1, 1, generator=draws)


def _train_generator(pair: LocalPair, fake: torch.Tensor) -> torch.Tensor:
    pair.discriminator.requires_grad_(False)
    loss = opposed(pair, fake)
    descend(pair.generator_optimiser, loss)
    pair.discriminator.requires_grad_(True)
    return loss.detach()
