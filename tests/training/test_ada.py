"""Augmentation changes images as often as asked, alike on every device, and its controller finds how often."""

import pytest
import torch

from fedsec.training.ada import adapted, augmented, overfitting
from fedsec.training.chance import Chance


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(number: int, channels: int = 3, side: int = 8) -> torch.Tensor:
    return torch.rand(number, channels, side, side, generator=draws(9)) * 2 - 1


def test_with_probability_zero_images_stay_and_nothing_is_drawn() -> None:
    generator, images = draws(), noise(4)
    assert torch.equal(augmented(images, 0.0, generator), images)
    assert torch.equal(generator.get_state(), draws().get_state())


@pytest.mark.parametrize("channels", [1, 3])
def test_the_same_seed_gives_the_same_bits_and_another_does_not(channels: int) -> None:
    images, state = noise(4, channels), torch.random.get_rng_state()
    once = augmented(images, 0.7, draws())
    assert once.shape == images.shape
    assert once.dtype == images.dtype
    assert torch.equal(once, augmented(images, 0.7, draws()))
    assert not torch.equal(once, augmented(images, 0.7, draws(1)))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_few_images_change_where_the_probability_is_small_and_all_where_it_is_one() -> None:
    images = noise(400)
    changed = [
        (augmented(images, p, draws()) - images).abs().amax((1, 2, 3)).gt(1e-4).double().mean().item()
        for p in (0.01, 0.2, 1.0)
    ]
    assert 0.02 < changed[0] < 0.2
    assert 0.6 < changed[1] < 0.98
    assert changed[2] == 1


@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_are_those_of_finite_differences(channels: int) -> None:
    images = noise(3, channels, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: augmented(x, 0.8, draws()), images, fast_mode=True)


def test_every_image_has_its_own_changes() -> None:
    same = noise(1).expand(20, -1, -1, -1)
    assert len(augmented(same, 1.0, draws()).unique(dim=0)) == 20


@pytest.mark.parametrize("p", [0.1, 0.5, 1.0])
def test_a_change_has_its_probability(p: float) -> None:
    chance = Chance(4000, p, draws())
    for numbers in (chance.normals(2), chance.uniforms(2)):
        assert torch.equal(numbers[0] == 0, numbers[1] == 0)
        assert numbers[0].ne(0).double().mean().item() == pytest.approx(p, abs=0.03)
    assert chance.integers(4).ne(0).double().mean().item() == pytest.approx(p * 3 / 4, abs=0.03)


def test_numbers_are_spread_as_promised() -> None:
    chance = Chance(20_000, 1.0, draws())
    assert chance.normals(1).std().item() == pytest.approx(1, abs=0.02)
    assert chance.uniforms(1).aminmax().max.item() == pytest.approx(1, abs=0.01)
    assert chance.uniforms(1).aminmax().min.item() == pytest.approx(-1, abs=0.01)
    assert chance.integers(4).unique().tolist() == [0, 1, 2, 3]


def test_overfitting_is_the_mean_sign_of_the_logits_of_real_images() -> None:
    assert overfitting(torch.tensor([3.0, 0.1, -7.0, 2.0])) == 0.5
    assert overfitting(torch.ones(5, requires_grad=True)) == 1


def test_p_goes_from_zero_to_one_in_the_given_number_of_images_and_back() -> None:
    p, climbed = 0.0, list[float]()
    for _ in range(12):
        p = adapted(p, 0.9, 100, images_to_one=1000)
        climbed.append(p)
    assert climbed == pytest.approx([0.1 * i for i in range(1, 11)] + [1, 1])
    for _ in range(12):
        p = adapted(p, 0.1, 100, images_to_one=1000)
    assert p == 0
    assert adapted(0.5, 0.6, 100) == 0.5


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match=r"from 0 to 1; got 1\.5"):
        augmented(noise(1), 1.5, draws())
    with pytest.raises(ValueError, match=r"from 0 to 1; got -0\.1"):
        adapted(-0.1, 0.6, 1)
    with pytest.raises(ValueError, match="at least one image to go from 0 to 1; got 0"):
        adapted(0.1, 0.6, 1, images_to_one=0)
    with pytest.raises(ValueError, match="one or three channels; got 2"):
        augmented(noise(1, 2), 0.0, draws())
