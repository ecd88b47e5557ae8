"""A GAN is shown its client's images evenly by class, and moves of them that gradients pass through."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsec.training.gan_batches import BalancedBatches, as_bytes, as_floats, random_shifts, shifted


def numbered(labels: list[int], batch_size: int, seed: int = 0) -> BalancedBatches:
    """Return batches of images of one pixel, each its own number."""
    images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1)
    return BalancedBatches(images, torch.tensor(labels), batch_size, torch.Generator().manual_seed(seed))


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(1, 20), st.integers(1, 8))
@settings(max_examples=50)
def test_every_class_is_shown_as_often_as_any_other(labels: list[int], batch_size: int, batches: int) -> None:
    source = numbered(labels, batch_size)
    counts = np.zeros(7, np.int64)
    for _ in range(batches):
        images, shown = source.next()
        assert [labels[number] for number in images.flatten().tolist()] == shown.tolist()
        counts += np.bincount(shown.numpy(), minlength=7)
    present = counts[np.unique(labels)]
    assert counts.sum() == present.sum() == batches * batch_size
    assert present.max() - present.min() <= 1


def test_within_its_class_each_image_is_as_likely_as_any_other() -> None:
    source = numbered([0] * 5 + [1] * 20, 100)
    counts = sum(np.bincount(source.next()[0].flatten().numpy(), minlength=25) for _ in range(40))
    np.testing.assert_allclose(counts[:5], 400, rtol=0.2)
    np.testing.assert_allclose(counts[5:], 100, rtol=0.4)


def test_the_seed_decides_what_is_shown() -> None:
    one, same, other = (numbered([0, 1, 1, 0, 2] * 9, 30, seed).next()[0] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_shifts_are_all_of_the_range_and_evenly() -> None:
    shifts = random_shifts(25_000, 2, torch.Generator().manual_seed(0))
    _, counts = shifts.unique(dim=0, return_counts=True)
    assert len(counts) == 25
    np.testing.assert_allclose(counts, 1000, rtol=0.2)


def test_an_image_is_moved_down_and_right_and_its_edge_repeated() -> None:
    image = torch.arange(9).view(1, 1, 3, 3)
    assert shifted(image, torch.tensor([[1, -1]]))[0, 0].tolist() == [[1, 2, 2], [1, 2, 2], [4, 5, 5]]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_each_image_is_moved_on_its_own(dtype: torch.dtype) -> None:
    images = torch.randint(0, 255, (4, 3, 6, 6)).to(dtype)
    shifts = torch.tensor([[0, 0], [2, 0], [0, -2], [-1, 1]])
    together = shifted(images, shifts)
    assert together.dtype == dtype
    assert torch.equal(together[0], images[0])
    for alone in range(4):
        assert torch.equal(together[alone : alone + 1], shifted(images[alone : alone + 1], shifts[alone : alone + 1]))


def test_gradients_go_back_to_the_pixels_that_were_shown() -> None:
    images = torch.randn(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    shifts = torch.tensor([[1, -1], [0, 2]])
    assert torch.autograd.gradcheck(lambda pixels: shifted(pixels, shifts), images)


def test_bytes_survive_the_generators_range() -> None:
    values = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    floats = as_floats(values)
    assert (floats.min(), floats.max()) == (-1, 1)
    assert torch.equal(as_bytes(floats), values)
    assert as_bytes(torch.tensor([-1.2, 1.2])).tolist() == [0, 255]
