"""Moves of images do what their matrices say, and keep colours."""

import math

import pytest
import torch

from fedsec.training.ada_moves import moved, random_moves, rotation, scale, translation
from fedsec.training.chance import Chance


def chance(p: float, number: int = 50) -> Chance:
    return Chance(number, p, torch.Generator().manual_seed(0))


def noise(side: int, number: int = 2) -> torch.Tensor:
    return torch.rand(number, 3, side, side, generator=torch.Generator().manual_seed(1))


def both(number: float) -> torch.Tensor:
    return torch.full((2,), number, dtype=torch.float64)


@pytest.mark.parametrize("side", [7, 8])
def test_flips_and_quarter_turns_copy_pixels(side: int) -> None:
    images = noise(side)
    torch.testing.assert_close(moved(images, scale(both(-1), both(1))), images.flip(3), atol=1e-5, rtol=0)
    turned = moved(images, rotation(both(math.pi / 2)))
    torch.testing.assert_close(turned, images.rot90(-1, (2, 3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(turned.mean((2, 3)), images.mean((2, 3)))


def test_shifts_by_whole_pixels_copy_pixels_and_mirror_the_edge() -> None:
    images = noise(8)
    answer = moved(images, translation(both(2), both(-1)))
    mirrored = torch.cat([images[..., :2].flip(3), images[..., :-2]], 3)
    torch.testing.assert_close(answer, torch.cat([mirrored[:, :, 1:], mirrored[:, :, -1:]], 2), atol=1e-5, rtol=0)


def test_half_a_pixel_is_the_mean_of_two() -> None:
    images = noise(8)
    answer = moved(images, translation(both(0.5), both(0)))
    torch.testing.assert_close(answer[..., 1:], (images[..., 1:] + images[..., :-1]) / 2, atol=1e-5, rtol=0)


def test_an_image_stretched_to_twice_its_width_shows_its_middle() -> None:
    ramp = torch.arange(8.0).sub(3.5).expand(2, 1, 8, 8)
    torch.testing.assert_close(moved(ramp, scale(both(2), both(1))), ramp / 2)


def test_moves_are_made_one_after_another() -> None:
    images, first, second = noise(8), scale(both(-1), both(1)), rotation(both(math.pi / 2))
    torch.testing.assert_close(moved(images, second @ first), moved(moved(images, first), second), atol=1e-5, rtol=0)


def test_a_flat_image_keeps_its_colour() -> None:
    flat = torch.tensor([0.9, -0.3, 0.1])[None, :, None, None].expand(50, 3, 16, 16)
    torch.testing.assert_close(moved(flat, random_moves(chance(1.0), 16, 16)), flat)


def test_random_moves_are_in_the_middle_none_and_as_wide_as_the_paper_says() -> None:
    moves = random_moves(chance(1.0, 4000), 32, 32)
    areas = torch.linalg.det(moves).abs().log2() / 2
    assert areas.mean().item() == pytest.approx(0, abs=0.02)
    assert areas.std().item() == pytest.approx(0.2, abs=0.01)
    assert moves[:, :2, 2].mean(0).abs().max() < 0.4
    variance = (2 * 4 + 1) ** 2 / 12 + (32 / 8) ** 2
    assert moves[:, :2, 2].var(0).tolist() == pytest.approx([variance] * 2, rel=0.15)


def test_an_image_is_turned_freely_with_the_probability_of_every_other_move() -> None:
    moves = random_moves(chance(0.2, 20_000), 32, 32)
    still = (moves - torch.eye(3).double()).abs().amax((1, 2)) < 1e-12
    assert still.double().mean().item() == pytest.approx(0.9 * 0.85 * 0.8 * 0.8**4, abs=0.02)
