"""Changes of colour are turns, flips and stretches about the direction of grey."""

import math

import pytest
import torch

from fedsec.training.ada_colours import coloured, hue, luma_flip, random_colours, saturation
from fedsec.training.chance import Chance


def chance(p: float, number: int = 50) -> Chance:
    return Chance(number, p, torch.Generator().manual_seed(0))


def noise(channels: int = 3) -> torch.Tensor:
    return torch.rand(50, channels, 4, 4, generator=torch.Generator().manual_seed(1)) * 2 - 1


def same(number: float) -> torch.Tensor:
    return torch.full((50,), number, dtype=torch.float64)


def test_a_third_of_a_turn_of_hue_makes_red_green_and_green_blue() -> None:
    images = noise()
    torch.testing.assert_close(coloured(images, hue(same(2 * math.pi / 3)), same(0)), images.roll(1, 1))


def test_without_saturation_an_image_is_grey_and_with_more_its_colours_stand_apart() -> None:
    images = noise()
    grey = images.mean(1, keepdim=True)
    torch.testing.assert_close(coloured(images, saturation(same(0)), same(0)), grey.expand_as(images))
    torch.testing.assert_close(coloured(images, saturation(same(2)), same(0)), 2 * images - grey)


def test_a_flip_of_luma_turns_bright_to_dark_and_leaves_the_hue() -> None:
    images = noise()
    answer = coloured(images, luma_flip(same(1), 3), same(0))
    torch.testing.assert_close(answer.mean(1), -images.mean(1))
    difference, before = (x - x.mean(1, keepdim=True) for x in (answer, images))
    torch.testing.assert_close(difference, before)
    torch.testing.assert_close(coloured(noise(1), luma_flip(same(1), 1), same(0)), -noise(1))


def test_brightness_is_added_before_contrast_multiplies() -> None:
    images = noise(1)
    torch.testing.assert_close(coloured(images, 3 * luma_flip(same(0), 1), same(0.5)), 3 * (images + 0.5))


def test_a_colour_is_mapped_pixel_by_pixel() -> None:
    images, (maps, added) = noise(), random_colours(chance(1.0), 3)
    answer = coloured(images, maps, added)
    for image, row, column in ((0, 0, 0), (7, 1, 2), (49, 3, 3)):
        pixel = maps[image] @ (images[image, :, row, column].double() + added[image])
        torch.testing.assert_close(answer[image, :, row, column].double(), pixel, atol=1e-5, rtol=1e-5)


def test_grey_images_stay_grey() -> None:
    answer = coloured(noise(1).expand(50, 3, 4, 4), *random_colours(chance(1.0), 3))
    torch.testing.assert_close(answer, answer[:, :1].expand_as(answer))


@pytest.mark.parametrize("channels", [1, 3])
def test_changes_are_as_wide_as_the_paper_says(channels: int) -> None:
    maps, added = random_colours(chance(1.0, 8000), channels)
    assert added.std().item() == pytest.approx(0.2, abs=0.01)
    of_grey = maps.sum(2)[:, 0]
    assert of_grey.lt(0).double().mean().item() == pytest.approx(0.5, abs=0.03)
    assert of_grey.abs().log2().mean().item() == pytest.approx(0, abs=0.03)
    assert of_grey.abs().log2().std().item() == pytest.approx(0.5, abs=0.02)
