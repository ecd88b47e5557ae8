"""StyleGAN2's generator has the paper's shapes, the reference's size, and images that its inputs alone decide."""

import pytest
import torch

from fedsec.models.drawing import drawn_from
from fedsec.models.stylegan2 import SIZES, StyleGan2Generator, reference_generator


def small(channels: int = 3, size: int = 32, seed: int = 0) -> StyleGan2Generator:
    with drawn_from(seed):
        return StyleGan2Generator(channels, size, 6, 5, channel_base=4 * size, channel_max=8, mapping_layers=2)


def noise(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_for_each_z(channels: int, size: int) -> None:
    assert small(channels, size)(torch.randn(2, 6), noise()).shape == (2, channels, size, size)


def test_the_reference_has_its_24_million_weights() -> None:
    generator = reference_generator()
    assert sum(weight.numel() for weight in generator.parameters()) == pytest.approx(24.71e6, rel=0.01)
    shapes = {name: tuple(weight.shape) for name, weight in generator.named_parameters()}
    convolutions = [shapes[f"levels.{level}.convolution.weight"][0] for level in range(7)]
    assert convolutions == [512, 512, 512, 512, 512, 256, 128]
    assert shapes["mapping.layers.0.weight"] == (128, 64)
    assert len(generator.mapping.layers) == 8


def test_every_weight_learns_and_is_a_float_that_can_be_averaged() -> None:
    generator = small()
    generator(torch.randn(2, 6), noise()).square().mean().backward()
    weights = dict(generator.named_parameters())
    assert [name for name, weight in weights.items() if weight.grad is None or not weight.grad.any()] == []
    assert generator.state_dict().keys() == weights.keys()
    assert {weight.dtype for weight in weights.values()} == {torch.float32}


def test_the_same_seeds_give_the_same_bits() -> None:
    z = torch.randn(2, 6)
    once, again = small(), small()
    for generator in (once, again):
        for level in generator.levels:
            torch.nn.init.ones_(level.convolution.strength)
    assert torch.equal(once(z, noise()), again(z, noise()))
    assert not torch.equal(once(z, noise()), once(z, noise(2)))
    assert not torch.equal(small()(z), small(seed=1)(z))


def test_without_noise_z_alone_decides_the_image() -> None:
    generator, z = small(), torch.randn(2, 6)
    for level in generator.levels:
        torch.nn.init.ones_(level.convolution.strength)
    state = torch.random.get_rng_state()
    assert torch.equal(generator(z), generator(z))
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.testing.assert_close(generator(z)[:1], generator(z[:1]))
    assert not torch.allclose(generator(z)[0], generator(z)[1])


def test_drawing_noise_leaves_the_generator_of_the_process_alone() -> None:
    generator, z, state = small(), torch.zeros(2, 6), torch.random.get_rng_state()
    generator(z, noise())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_first_features_neither_vanish_nor_explode_from_level_to_level() -> None:
    torch.manual_seed(0)
    generator, seen = StyleGan2Generator(3, 64, channel_base=4096, channel_max=64), list[float]()
    for level in generator.levels:
        level.convolution.register_forward_hook(lambda _, __, x: seen.append(x.square().mean().item()))
    generator(torch.randn(4, 64))
    assert len(seen) == 5
    assert all(0.05 < square < 2 for square in seen)


@pytest.mark.parametrize("size", [4, 28, 512])
def test_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"a power of two from 16 to 256 pixels a side; got {size}"):
        StyleGan2Generator(3, size)


def test_too_few_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"channel_base of at least the image's side.*got 31 for a side of 32"):
        StyleGan2Generator(3, 32, channel_base=31)
