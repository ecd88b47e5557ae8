"""A step's losses and gradients are those of the definitions."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fedsec.models.cgan import Discriminator, Generator
from fedsec.training.gan_batches import BalancedBatches
from fedsec.training.gan_steps import Pair, gradient_penalty, min_max_step, wasserstein_loss, wasserstein_step

Gradients = dict[str, torch.Tensor]


class Still:
    """An optimiser that notes the gradients it is given, and leaves the weights alone."""

    def __init__(self, network: nn.Module) -> None:
        self.network, self.steps = network, list[Gradients]()

    def zero_grad(self, set_to_none: bool) -> None:
        self.network.zero_grad(set_to_none)

    def step(self) -> None:
        self.steps.append({name: w.grad.clone() for name, w in self.network.named_parameters() if w.grad is not None})


@pytest.fixture
def pair() -> Pair:
    """Return a pair for images of 8 x 8 that stays as it is; what it sees is noted in ``seen``."""
    torch.manual_seed(0)
    generator, critic = Generator(1, 8, 2, 3, 4), Discriminator(1, 8, 2, 4)
    images = torch.randint(0, 256, (10, 1, 8, 8), dtype=torch.uint8)
    batches = BalancedBatches(images, torch.arange(10) % 2, 6, torch.Generator().manual_seed(1))
    optimisers: Any = (Still(generator), Still(critic))
    draws = torch.Generator().manual_seed(2)
    return Pair(generator, critic, *optimisers, batches, 3, 0, draws, lambda: torch.autocast("cpu", enabled=False))


def watched(network: nn.Module) -> list[tuple[torch.Tensor, ...]]:
    """Return a list that grows by what the network is called with."""
    calls: list[tuple[torch.Tensor, ...]] = []
    network.register_forward_pre_hook(lambda _, given: calls.append(tuple(part.detach() for part in given)))
    return calls


def gradients(loss: torch.Tensor, network: nn.Module) -> Gradients:
    names, weights = zip(*network.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, weights), strict=True))


def test_discriminator_and_generator_descend_their_losses(pair: Pair) -> None:
    seen, noise = watched(pair.critic), watched(pair.generator)
    generator_loss, critic_loss = min_max_step(pair)
    ((images, labels), (z, _)) = (*seen, *noise)
    seen.clear()
    real, fake, labels = images[:6], images[6:], labels[:6]
    ones, zeros = torch.ones(6), torch.zeros(6)
    wanted = F.binary_cross_entropy_with_logits(pair.critic(real, labels), ones)
    wanted = wanted + F.binary_cross_entropy_with_logits(pair.critic(fake, labels), zeros)
    torch.testing.assert_close(critic_loss, wanted.detach())
    torch.testing.assert_close(pair.critic_optimiser.steps, [gradients(wanted, pair.critic)])  # type: ignore[attr-defined]
    wanted = F.binary_cross_entropy_with_logits(pair.critic(pair.generator(z, labels), labels), ones)
    torch.testing.assert_close(generator_loss, wanted.detach())
    torch.testing.assert_close(pair.generator_optimiser.steps, [gradients(wanted, pair.generator)])  # type: ignore[attr-defined]


def test_a_certain_discriminator_still_teaches_the_generator(pair: Pair) -> None:
    with torch.no_grad():
        pair.critic.get_parameter("score.bias").sub_(25.0)
    noise = watched(pair.generator)
    min_max_step(pair)
    z, labels = noise[0]
    loss = F.softplus(-pair.critic(pair.generator(z, labels), labels)).mean()
    torch.testing.assert_close(pair.generator_optimiser.steps, [gradients(loss, pair.generator)])  # type: ignore[attr-defined]


def test_the_critic_descends_wasserstein_loss_and_penalty_and_the_generator_its_score(pair: Pair) -> None:
    seen, noise = watched(pair.critic), watched(pair.generator)
    generator_loss, critic_loss = wasserstein_step(pair, critic_steps=3, penalty=7.0)
    assert [len(images) for images, _ in seen] == [12, 6, 12, 6, 12, 6, 6]
    (images, _), (between, labels) = seen[4:6]
    real, fake = images.chunk(2)
    share = ((between - fake) / (real - fake)).flatten(1)
    torch.testing.assert_close(share, share[:, :1].expand_as(share), rtol=1e-3, atol=1e-3)
    critic = pair.critic
    wanted = critic(fake, labels).mean() - critic(real, labels).mean()
    wanted = wanted + 7.0 * gradient_penalty(critic, between, labels)
    torch.testing.assert_close(critic_loss, wanted.detach())
    torch.testing.assert_close(pair.critic_optimiser.steps[-1], gradients(wanted, critic))  # type: ignore[attr-defined]
    z, labels = noise[-1]
    wanted = -critic(pair.generator(z, labels), labels).mean()
    torch.testing.assert_close(generator_loss, wanted.detach())
    torch.testing.assert_close(pair.generator_optimiser.steps, [gradients(wanted, pair.generator)])  # type: ignore[attr-defined]
    assert all(weight.requires_grad for weight in critic.parameters())


def test_wasserstein_loss_is_the_difference_of_the_means() -> None:
    assert wasserstein_loss(torch.tensor([1.0, 3.0]), torch.tensor([-1.0, 2.0])).item() == -1.5


def test_the_penalty_is_that_of_finite_differences() -> None:
    torch.manual_seed(0)
    critic = Discriminator(1, 4, 2, 4).double()
    images, labels = torch.randn(3, 1, 4, 4).double(), torch.tensor([0, 1, 0])
    step, norms = 1e-6, []
    with torch.no_grad():
        for image, label in zip(images, labels, strict=True):
            moves = step * torch.eye(16).double().view(16, 1, 4, 4)
            scores = [critic(image + sign * moves, label.expand(16)) for sign in (1, -1)]
            norms.append(float(((scores[0] - scores[1]) / (2 * step)).norm()))
    expected = sum((norm - 1) ** 2 for norm in norms) / 3
    assert gradient_penalty(critic, images, labels).item() == pytest.approx(expected, rel=1e-6)


def test_the_penalty_has_the_gradients_of_finite_differences() -> None:
    torch.manual_seed(0)
    critic = Discriminator(1, 4, 2, 4).double()
    images, labels = torch.randn(3, 1, 4, 4).double(), torch.tensor([0, 1, 0])
    gradient_penalty(critic, images, labels).backward()
    for name in ("down1.weight", "down2.weight", "of_class.weight"):
        weight = critic.get_parameter(name)
        assert weight.grad is not None
        place = int(weight.grad.abs().argmax())
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight.view(-1)[place] += sign * 1e-6
            values.append(gradient_penalty(critic, images, labels).item())
            with torch.no_grad():
                weight.view(-1)[place] -= sign * 1e-6
        assert weight.grad.view(-1)[place].item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5, abs=1e-9)


def test_a_critic_of_slope_one_pays_nothing() -> None:
    def brightness(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return images.flatten(1).sum(1) / 4

    assert gradient_penalty(brightness, torch.randn(5, 1, 4, 4), torch.zeros(5)).item() == pytest.approx(0, abs=1e-12)
