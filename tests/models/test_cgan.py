"""Generator and discriminator take images of any size and number of channels, and use the class that they are given."""

import pytest
import torch
from torch import nn

from fedsec.models.cgan import Discriminator, Generator

SHAPES = [(1, 28, 10), (3, 32, 10), (1, 4, 2), (2, 13, 3), (3, 30, 7)]


@pytest.mark.parametrize(("channels", "size", "classes"), SHAPES)
def test_an_image_for_each_label(channels: int, size: int, classes: int) -> None:
    images = Generator(channels, size, classes, latent=5, width=4)(torch.randn(3, 5), torch.arange(3) % classes)
    assert images.shape == (3, channels, size, size)
    assert images.abs().max() <= 1


@pytest.mark.parametrize(("channels", "size", "classes"), SHAPES)
def test_a_score_for_each_image(channels: int, size: int, classes: int) -> None:
    critic = Discriminator(channels, size, classes, width=4)
    assert critic(torch.zeros(3, channels, size, size), torch.arange(3) % classes).shape == (3,)


def test_one_image_alone_can_be_trained_on() -> None:
    generator, critic = Generator(1, 8, 1, latent=2, width=1), Discriminator(1, 8, 1, width=1)
    label = torch.zeros(1, dtype=torch.int64)
    critic(generator(torch.randn(1, 2), label), label).sum().backward()
    weights = [*generator.named_parameters(), *critic.named_parameters()]
    assert [name for name, weight in weights if weight.grad is None] == []


@pytest.mark.parametrize("network", [Generator(1, 8, 3, 4, 8).eval(), Discriminator(1, 8, 3, 8)])
def test_the_class_matters(network: nn.Module) -> None:
    torch.manual_seed(0)
    same = torch.randn(1, 4) if isinstance(network, Generator) else torch.randn(1, 1, 8, 8)
    outputs = network(same.expand(3, *same.shape[1:]), torch.arange(3)).reshape(3, -1)
    assert len(outputs.unique(dim=0)) == 3


def test_the_score_of_an_image_does_not_depend_on_the_others() -> None:
    torch.manual_seed(0)
    critic, images, labels = Discriminator(2, 9, 3, 8).double(), torch.randn(6, 2, 9, 9).double(), torch.arange(6) % 3
    torch.testing.assert_close(critic(images, labels)[2:3], critic(images[2:3], labels[2:3]))


def test_images_that_are_too_small_are_refused() -> None:
    for build in (lambda: Generator(1, 3, 2, 4, 4), lambda: Discriminator(1, 3, 2, 4)):
        with pytest.raises(ValueError, match="at least 4 x 4 pixels; got 3 x 3"):
            build()


def test_a_new_generator_was_trained_on_no_class_and_its_weights_say_so() -> None:
    assert Generator(1, 8, 3, 4, 8).state_dict()["trained"].tolist() == [False, False, False]
