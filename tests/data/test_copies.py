"""The controls: copies of the few real images of a class, as they are or moved."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from fedsec.data import copies
from fedsec.data.copies import SHIFT, moved, placed, repeated

IMAGES = np.arange(6 * 64, dtype=np.uint64).reshape(6, 1, 8, 8).astype(np.uint8)
LABELS = np.array([0, 0, 0, 0, 2, 2])


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 2**32))
def test_every_image_of_a_class_is_copied_equally_often(first: int, third: int, seed: int) -> None:
    images, labels = repeated(IMAGES, LABELS, np.array([first, 0, third]), np.random.default_rng(seed))
    assert np.bincount(labels, minlength=3).tolist() == [first, 0, third]
    for label, number, real in ((0, first, IMAGES[:4]), (2, third, IMAGES[4:])):
        times = [int((images[labels == label] == image).all((1, 2, 3)).sum()) for image in real]
        assert sum(times) == number
        assert max(times) - min(times) <= 1


def test_moved_copies_are_near_their_originals_and_no_two_alike() -> None:
    original = np.zeros((1, 1, 28, 28), np.uint8)
    original[0, 0, 10:18, 10:18] = 255
    images, labels = moved(original, np.array([1]), np.array([0, 600]), np.random.default_rng(0))
    assert images.dtype == np.uint8
    assert images.shape == (600, 1, 28, 28)
    assert labels.tolist() == [1] * 600
    assert len({image.tobytes() for image in images}) == 600
    centres = np.array([np.argwhere(image[0] > 127).mean(0) for image in images]) - 13.5
    farthest = np.abs(centres).max()
    assert 2.3 < farthest < round(SHIFT * 28) + 1  # a tenth of the side is 2.8 pixels


@pytest.mark.parametrize(("side", "channels"), [(16, 1), (28, 1), (32, 3)])
def test_a_bright_border_stays_bright(side: int, channels: int) -> None:
    white = np.full((1, channels, side, side), 200, np.uint8)
    images, _ = moved(white, np.array([0]), np.array([1000]), np.random.default_rng(1))
    assert images.min() >= 199


def test_the_same_generator_makes_the_same_copies() -> None:
    first, second = (moved(IMAGES, LABELS, np.array([5, 0, 3]), np.random.default_rng(4))[0] for _ in range(2))
    assert_array_equal(first, second)
    other = moved(IMAGES, LABELS, np.array([5, 0, 3]), np.random.default_rng(5))[0]
    assert (first != other).any()


@pytest.mark.parametrize("make", [repeated, moved])
def test_a_class_without_images_cannot_be_copied(make: object) -> None:
    with pytest.raises(ValueError, match="class 1 has no image to copy; got 3 as wanted"):
        make(IMAGES, LABELS, np.array([0, 3, 0]), np.random.default_rng(0))  # type: ignore[operator]


@pytest.mark.parametrize("make", [repeated, moved])
def test_nothing_wanted_is_nothing_made(make: object) -> None:
    images, labels = make(IMAGES, LABELS, np.zeros(3, np.int64), np.random.default_rng(0))  # type: ignore[operator]
    assert images.shape == (0, 1, 8, 8)
    assert labels.shape == (0,)


@pytest.mark.parametrize(("height", "width", "channels"), [(28, 28, 1), (32, 32, 3), (16, 24, 2)])
def test_images_are_placed_as_torchvision_places_them_within_a_border(height: int, width: int, channels: int) -> None:
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as vision

    rng, number, margin = np.random.default_rng(3), 20, 16
    images = rng.integers(0, 256, (number, channels, height, width), np.uint8)
    angles, shears = (rng.uniform(-degrees, degrees, number) for degrees in (10, 5))
    shifts, scales = rng.integers(-2, 3, (number, 2)).astype(np.float64), rng.uniform(0.9, 1.1, number)
    ours = placed(images, np.radians(angles), shifts, scales, np.radians(shears))
    for place, image in enumerate(ours):
        padded = vision.pad(torch.from_numpy(images[place]), [margin], padding_mode="edge")
        theirs = vision.affine(
            padded, angles[place], shifts[place].tolist(), scales[place], [shears[place], 0], InterpolationMode.BILINEAR
        )[:, margin:-margin, margin:-margin].numpy()
        assert np.abs(image.astype(int) - theirs).max() <= 1


def test_how_many_are_moved_at_once_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = np.array([30, 0, 11])
    whole, _ = moved(IMAGES, LABELS, wanted, np.random.default_rng(4))
    monkeypatch.setattr(copies, "AT_ONCE", 7)
    assert_array_equal(whole, moved(IMAGES, LABELS, wanted, np.random.default_rng(4))[0])
