"""The GAN as it is commonly written, to measure ours against: strided convolutions, float32, NCHW, a pass each.

It has the layers' widths, the losses, the batches and the shifts of ours.
"""

import torch
from torch import nn
from torch.nn import functional as F

from fedsec.training.gan_batches import BalancedBatches, as_bytes, as_floats, random_shifts, shifted
from fedsec.training.gan_networks import BETAS, GanSettings
from fedsec.training.gan_steps import gradient_penalty


class Generator(nn.Module):
    """DCGAN's generator at two doublings, its noise joined by the class."""

    def __init__(self, channels: int, size: int, num_classes: int, latent: int, width: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.layers = nn.Sequential(
            nn.Linear(latent + num_classes, width * (size // 4) ** 2, bias=False),
            nn.Unflatten(1, (width, size // 4, size // 4)),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.ConvTranspose2d(width, width // 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width // 2),
            nn.ReLU(),
            nn.ConvTranspose2d(width // 2, channels, 4, 2, 1),
            nn.Tanh(),
        )

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return images (N, channels, size, size) of ``labels`` (N,) from ``z`` (N, latent)."""
        images: torch.Tensor = self.layers(torch.cat([z, F.one_hot(labels, self.num_classes)], 1))
        return images


class Discriminator(nn.Module):
    """DCGAN's discriminator at two halvings, without BatchNorm, with the class as a projection."""

    def __init__(self, channels: int, size: int, num_classes: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width // 2, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width // 2, width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
        )
        features = width * (size // 4) ** 2
        self.score = nn.Linear(features, 1)
        self.of_class = nn.Embedding(num_classes, features)

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return a score (N,) for each of ``images`` (N, channels, size, size) of ``labels`` (N,)."""
        features = self.layers(images)
        scores: torch.Tensor = self.score(features).squeeze(1) + (features * self.of_class(labels)).sum(1)
        return scores


class TextbookGan:
    """Both networks, and their steps.

    Args:
        images: (N, C, H, W) uint8, H a multiple of 4.
        labels: (N,) int64.
        num_classes: number of classes.
        settings: as of ours; ``precision`` is float32 whatever they say.
        seed: of everything.
    """

    def __init__(
        self, images: torch.Tensor, labels: torch.Tensor, num_classes: int, settings: GanSettings, seed: int
    ) -> None:
        channels, size = images.shape[1:3]
        self.settings = settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.generator = Generator(channels, size, num_classes, settings.latent, settings.width)
            self.critic = Discriminator(channels, size, num_classes, settings.width)
        networks = (self.generator, self.critic)
        self.optimisers = [
            torch.optim.Adam(network.parameters(), settings.learning_rate, BETAS[settings.kind]) for network in networks
        ]
        self.draws = torch.Generator().manual_seed(seed)
        self.batches = BalancedBatches(images, labels, settings.batch_size, self.draws)

    def step(self) -> None:
        """Train both networks once; cwgan: the critic several times."""
        if self.settings.kind == "cgan":
            real, labels = self._real()
            fake = self._fake(labels)
            on_real, on_fake = self.critic(real, labels), self.critic(fake.detach(), labels)
            self._descend(1, _against(on_real, 1.0) + _against(on_fake, 0.0))
            self._descend(0, _against(self.critic(fake, labels), 1.0))
            return
        for _ in range(self.settings.critic_steps):
            real, labels = self._real()
            fake = self._fake(labels).detach()
            share = torch.rand(len(real), 1, 1, 1, generator=self.draws)
            penalty = gradient_penalty(self.critic, share * real + (1 - share) * fake, labels)
            distance = self.critic(real, labels).mean() - self.critic(fake, labels).mean()
            self._descend(1, self.settings.penalty * penalty - distance)
        self._descend(0, -self.critic(self._fake(labels), labels).mean())

    @torch.no_grad()
    def generate(self, labels: torch.Tensor) -> torch.Tensor:
        """Return an image (K, C, H, W) uint8 for each label (K,)."""
        self.generator.eval()
        noise = torch.randn(len(labels), self.settings.latent, generator=self.draws)
        return as_bytes(self.generator(noise, labels))

    def _real(self) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = self.batches.next()
        return as_floats(self._moved(images)).contiguous(), labels

    def _fake(self, labels: torch.Tensor) -> torch.Tensor:
        noise = torch.randn(len(labels), self.settings.latent, generator=self.draws)
        return self._moved(self.generator(noise, labels)).contiguous()

    def _moved(self, images: torch.Tensor) -> torch.Tensor:
        return shifted(images, random_shifts(len(images), self.settings.shift, self.draws))

    def _descend(self, network: int, loss: torch.Tensor) -> None:
        self.optimisers[network].zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimisers[network].step()


def _against(logits: torch.Tensor, wanted: float) -> torch.Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, wanted))
