"""A step changes both networks as the textbook says, worked out image by image and weight by weight."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fedsec.models.dcgan import DcganDiscriminator, DcganGenerator
from fedsec.models.drawing import drawn_from
from fedsec.training.federated_gan_pair import FederatedGanSettings, LocalPair, new_local_pair
from fedsec.training.federated_gan_steps import generator_loss, local_step, shares
from fedsec.training.gan_steps import gradient_penalty
from fedsec.training.threads import one_thread

MIN_MAX = FederatedGanSettings(batch_size=4, precision="float32")
WGAN_GP = replace(MIN_MAX, loss="wgan-gp")
LATENT = 6


def new_pair(settings: FederatedGanSettings) -> LocalPair:
    norm: Any = "batch" if settings.loss == "min-max" else "instance"
    with drawn_from(0):
        networks = DcganGenerator(1, 16, LATENT, 4), DcganDiscriminator(1, 16, 4, norm)
        for network in networks:
            for weight in network.parameters():
                weight.data.mul_(5)  # slopes that are worth comparing
    return new_local_pair(*networks, LATENT, settings, torch.Generator().manual_seed(7), torch.device("cpu"))


def real_batches(number: int) -> list[torch.Tensor]:
    draws = torch.Generator().manual_seed(3)
    return [torch.rand(4, 1, 16, 16, generator=draws) * 2 - 1 for _ in range(number)]


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Keep torch to one thread, as clients do."""
    with one_thread():
        yield


class Textbook:
    """The same pair, trained slowly: one gradient at a time, each weight by the optimiser's formula."""

    def __init__(self, pair: LocalPair) -> None:
        self.generator, self.discriminator = deepcopy(pair.generator), deepcopy(pair.discriminator)
        self.draws, self.settings = torch.Generator().manual_seed(7), pair.settings
        self.moments: dict[nn.Parameter, list[Any]] = {}

    def noise(self) -> torch.Tensor:
        return torch.randn(4, LATENT, generator=self.draws)

    def step(self, batches: list[torch.Tensor]) -> tuple[float, float]:
        return self.min_max(*batches) if self.settings.loss == "min-max" else self.wasserstein(batches)

    def min_max(self, real: torch.Tensor) -> tuple[float, float]:
        z, d = self.noise(), self.discriminator
        with torch.no_grad():
            fake = deepcopy(self.generator)(z)
        on_real, on_fake = torch.sigmoid(d(real)), torch.sigmoid(d(fake))
        critic: Any = -sum(on_real.log()) / 4 - sum((1 - on_fake).log()) / 4
        self.descend(d, critic)
        chances = torch.sigmoid(d(self.generator(z)))
        saturating = self.settings.generator_loss == "saturating"
        loss: Any = sum((1 - chances).log()) / 4 if saturating else -sum(chances.log()) / 4
        self.descend(self.generator, loss)
        return loss.item(), critic.item()

    def wasserstein(self, batches: list[torch.Tensor]) -> tuple[float, float]:
        draw = torch.rand if self.settings.interpolation == "uniform" else torch.randn
        for real in batches:
            with torch.no_grad():
                fake = self.generator(self.noise())
            penalties = []
            for i, share in enumerate(draw(4, 1, 1, 1, generator=self.draws).flatten().tolist()):
                between = (share * real[i] + (1 - share) * fake[i])[None].requires_grad_()
                (slope,) = torch.autograd.grad(self.discriminator(between).sum(), between, create_graph=True)
                penalties.append(((slope**2).sum().sqrt() - 1) ** 2)
            scores = [sum(self.discriminator(image[None])[0] for image in images) / 4 for images in (real, fake)]
            critic = scores[1] - scores[0] + self.settings.penalty * sum(penalties) / 4
            self.descend(self.discriminator, critic)
        loss = -sum(self.discriminator(self.generator(self.noise()))) / 4
        self.descend(self.generator, loss)
        return loss.item(), critic.item()

    def descend(self, network: nn.Module, loss: Any) -> None:
        weights = list(network.parameters())
        for weight, slope in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            step, first, second = self.moments.setdefault(weight, [0, 0.0, 0.0])
            adam = self.settings.loss == "min-max"
            step, first = step + 1, 0.9 * first + 0.1 * slope
            second = 0.999 * second + 0.001 * slope**2 if adam else 0.99 * second + 0.01 * slope**2
            self.moments[weight] = [step, first, second]
            change = slope / (second.sqrt() + 1e-8)
            if adam:
                change = first / (1 - 0.9**step) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
            weight.data -= self.settings.learning_rate * change


@pytest.mark.parametrize(
    "settings",
    [
        MIN_MAX,
        replace(MIN_MAX, generator_loss="saturating"),
        WGAN_GP,
        replace(WGAN_GP, interpolation="normal"),
        replace(WGAN_GP, critic_steps=3, penalty=2.0),
    ],
    ids=["min-max", "saturating", "wgan-gp", "normal", "three critic steps"],
)
def test_steps_are_those_of_the_textbook(settings: FederatedGanSettings) -> None:
    pair = new_pair(settings)
    textbook = Textbook(pair)
    for _ in range(2):
        batches = real_batches(settings.batches_in_a_step)
        losses = [loss.item() for loss in local_step(pair, batches)]
        assert losses == pytest.approx(textbook.step(batches), rel=1e-4, abs=1e-5)
    for ours, theirs in ((pair.generator, textbook.generator), (pair.discriminator, textbook.discriminator)):
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-5, atol=1e-5)
    assert all(weight.requires_grad for weight in pair.discriminator.parameters())


def test_real_and_generated_images_go_through_the_discriminator_apart() -> None:
    pair, seen = new_pair(MIN_MAX), list[torch.Tensor]()
    pair.discriminator.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    (real,) = real_batches(1)
    local_step(pair, [real])
    assert [len(images) for images in seen] == [4, 4, 4]
    torch.testing.assert_close(seen[0], real)
    torch.testing.assert_close(seen[1], seen[2])  # the generator learns from what the discriminator has seen


def test_generators_losses_by_hand() -> None:
    logits = torch.tensor([0.0, np.log(3.0)])  # D(G(z)) is 1/2 and 3/4
    assert generator_loss(logits, "non-saturating").item() == pytest.approx((np.log(2) + np.log(4 / 3)) / 2)
    assert generator_loss(logits, "saturating").item() == pytest.approx((np.log(1 / 2) + np.log(1 / 4)) / 2)


def test_uniform_mixtures_lie_between_the_images_and_normal_ones_beyond_them_too() -> None:
    uniform, normal = (shares(4000, kind, torch.Generator().manual_seed(0)) for kind in ("uniform", "normal"))
    assert uniform.shape == normal.shape == (4000, 1, 1, 1)
    assert 0 <= uniform.min() < 0.01 < 0.99 < uniform.max() < 1
    assert (normal < 0).float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert normal.std().item() == pytest.approx(1, abs=0.05)


def test_the_penalty_and_its_gradient_are_those_of_finite_differences() -> None:
    with drawn_from(1):
        critic = DcganDiscriminator(1, 16, 4, "instance").double()
    for weight in critic.parameters():
        weight.data.mul_(5)
    images = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(2)).double()

    penalty = gradient_penalty(critic, images)
    moves = 1e-5 * torch.eye(256).double().view(256, 1, 16, 16)
    with torch.no_grad():
        slopes = [(critic(image + moves) - critic(image - moves)) / 2e-5 for image in images]
    assert penalty.item() == pytest.approx(sum((slope.norm().item() - 1) ** 2 for slope in slopes) / 2, rel=1e-6)
    penalty.backward()  # type: ignore[no-untyped-call]
    for name in ("layers.0.weight", "layers.2.weight", "layers.3.weight", "layers.5.weight"):
        weight, values = critic.get_parameter(name), []
        assert weight.grad is not None
        place = int(weight.grad.abs().argmax())
        for move in (1e-6, -2e-6):
            weight.data.view(-1)[place] += move
            values.append(gradient_penalty(critic, images).item())
        weight.data.view(-1)[place] += 1e-6
        assert weight.grad.view(-1)[place].item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5)
