"""DCGAN's networks have the shapes and the size of the papers, and a critic judges each image alone."""

from typing import Any

import pytest
import torch
from torch import nn

from fedsec.models.dcgan import SIZES, DcganDiscriminator, DcganGenerator
from fedsec.models.drawing import drawn_from


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_for_each_z_and_a_logit_for_each_image(channels: int, size: int) -> None:
    images = DcganGenerator(channels, size, latent=5, width=2)(torch.randn(3, 5))
    assert images.shape == (3, channels, size, size)
    assert images.abs().max() <= 1
    assert DcganDiscriminator(channels, size, 2, "batch")(images).shape == (3,)
    assert DcganDiscriminator(channels, size, 2, "instance")(images).shape == (3,)


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_the_discriminator_for_256_pixels_has_the_44_million_weights_of_the_reference(norm: Any) -> None:
    network = DcganDiscriminator(3, 256, 64, norm)
    convolutions = [layer.weight.numel() for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert convolutions == [16 * n for n in (3 * 64, 64 * 128, 128 * 256, 256 * 512, 512 * 1024, 1024 * 2048, 2048)]
    assert sum(convolutions) == 44_731_392
    assert sum(weight.numel() for weight in network.parameters()) == 44_731_392 + 2 * 3968 + 64 + 1


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_one_image_alone_trains_every_weight(norm: Any) -> None:
    generator, critic = DcganGenerator(1, 16, latent=3, width=2), DcganDiscriminator(1, 16, 2, norm)
    critic(generator(torch.randn(1, 3))).sum().backward()
    weights = [*generator.named_parameters(), *critic.named_parameters()]
    assert [name for name, weight in weights if weight.grad is None] == []


def test_a_critic_scores_each_image_alone_and_a_discriminator_in_training_does_not() -> None:
    torch.manual_seed(0)
    images = torch.randn(4, 3, 16, 16).double()
    critic, discriminator = (DcganDiscriminator(3, 16, 4, norm).double() for norm in ("instance", "batch"))
    torch.testing.assert_close(critic(images)[:1], critic(images[:1]))
    assert not torch.allclose(discriminator(images)[:1], discriminator(images[:1]))


@pytest.mark.parametrize("change", [lambda images: images + 0.5, lambda images: images / 2])
def test_a_critic_sees_colour_and_contrast(change: Any) -> None:
    torch.manual_seed(0)
    critic, images = DcganDiscriminator(3, 16, 4, "instance"), torch.rand(4, 3, 16, 16) - 0.5
    nn.init.normal_(critic.get_parameter("layers.0.bias"))
    assert ((critic(change(images)) - critic(images)).abs() > 1e-3 * critic(images).abs()).all()


def test_the_first_weights_are_normal_with_a_deviation_of_two_hundredths() -> None:
    torch.manual_seed(0)
    for network in (DcganGenerator(3, 32, 64, 32), DcganDiscriminator(3, 32, 32, "batch")):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)
                assert layer.bias is None or not layer.bias.any()
            elif isinstance(layer, nn.BatchNorm2d):
                assert layer.weight.mean().item() == pytest.approx(1, abs=0.02)


def test_the_same_seed_draws_the_same_weights() -> None:
    def weights(seed: int) -> torch.Tensor:
        with drawn_from(seed):
            return nn.utils.parameters_to_vector(DcganGenerator(1, 16, 3, 2).parameters())

    assert torch.equal(weights(7), weights(7))
    assert not torch.equal(weights(7), weights(8))


@pytest.mark.parametrize("size", [0, 8, 28, 48, 512])
def test_other_sizes_are_refused(size: int) -> None:
    for build in (lambda: DcganGenerator(3, size, 4, 4), lambda: DcganDiscriminator(3, size, 4, "batch")):
        with pytest.raises(ValueError, match=f"a power of two from 16 to 256 pixels a side; got {size}"):
            build()


def test_an_unknown_norm_is_refused() -> None:
    norm: Any = "layer"
    with pytest.raises(ValueError, match='"batch" or "instance"; got "layer"'):
        DcganDiscriminator(3, 16, 4, norm)
