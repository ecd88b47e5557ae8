"""Stamping, overlap, anomaly indices and success of a trigger, by definition and by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from torch import nn

from fedsec.defenses.gancrop.trigger import (
    SMALLEST_SPREAD,
    RecoveredTrigger,
    anomaly_indices,
    frozen_copy,
    overlap,
    stamp,
    success_rate,
)

sizes = st.lists(st.floats(1.0, 500.0), min_size=3, max_size=12).map(np.array)


def slow_stamp(image: torch.Tensor, mask: torch.Tensor, pattern: torch.Tensor) -> torch.Tensor:
    stamped = image.clone()
    for channel in range(image.shape[0]):
        for row in range(image.shape[1]):
            for column in range(image.shape[2]):
                part = float(mask[row, column])
                before, wanted = float(image[channel, row, column]), float(pattern[channel, row, column])
                stamped[channel, row, column] = (1 - part) * before + part * wanted
    return stamped


def test_stamping_matches_the_definition_and_leaves_the_images() -> None:
    draws = torch.Generator().manual_seed(0)
    images, mask, pattern = (torch.rand(*shape, generator=draws) for shape in ((4, 3, 5, 6), (5, 6), (3, 5, 6)))
    before = images.clone()
    stamped = stamp(images, mask, pattern)
    for one, image in zip(stamped, images, strict=True):
        assert_allclose(one, slow_stamp(image, mask, pattern), atol=1e-6)
    assert torch.equal(images, before)


def test_empty_mask_changes_nothing_and_a_full_one_replaces_the_image() -> None:
    images, pattern = torch.rand(2, 1, 4, 4), torch.rand(1, 4, 4)
    assert torch.equal(stamp(images, torch.zeros(4, 4), pattern), images)
    assert_allclose(stamp(images, torch.ones(4, 4), pattern), pattern.expand(2, 1, 4, 4), atol=1e-6)


@given(sizes)
def test_indices_match_neural_cleanses_definition(values: np.ndarray) -> None:
    middle = np.median(values)
    deviation = 1.4826 * np.median([abs(value - middle) for value in values])
    expected = [(middle - value) / max(deviation, SMALLEST_SPREAD * middle) for value in values]
    assert_allclose(anomaly_indices(values), expected, rtol=1e-9, atol=1e-12)


@given(sizes, st.floats(0.1, 10.0), st.randoms())
def test_indices_follow_the_classes_and_not_the_scale(values: np.ndarray, scale: float, random: object) -> None:
    order = np.random.default_rng(0).permutation(len(values))
    assert_allclose(anomaly_indices(values[order]), anomaly_indices(values)[order], rtol=1e-9, atol=1e-12)
    assert_allclose(anomaly_indices(scale * values), anomaly_indices(values), rtol=1e-6, atol=1e-9)


def test_one_small_mask_stands_out_by_hand() -> None:
    # median 50, deviations 40, 0, 2, 1, 1: their median is 1, so 1.4826 * 1 < 0.05 * 50 = 2.5, which counts.
    assert_allclose(anomaly_indices(np.array([10.0, 50.0, 52.0, 49.0, 51.0])), [16.0, 0.0, -0.8, 0.4, -0.4])


def test_of_equal_masks_none_stands_out() -> None:
    assert not anomaly_indices(np.full(10, 7.0)).any()
    assert not anomaly_indices(np.zeros(10)).any()


def test_overlap_by_hand() -> None:
    mask = np.array([[0.9, 0.6], [0.4, 0.0]], np.float32)
    assert overlap(mask, np.array([[True, False], [True, False]])) == pytest.approx(1 / 3)
    assert overlap(np.zeros((2, 2), np.float32), np.zeros((2, 2), bool)) == 0.0


class Brightest(nn.Module):
    """Takes an image for class 1 where its first pixel is bright."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        first = images[:, 0, 0, 0]
        return torch.stack([0.5 - first, first - 0.5], dim=1)


def test_success_is_of_the_images_of_other_classes() -> None:
    images, labels = torch.zeros(4, 1, 2, 2), torch.tensor([0, 0, 0, 1])
    mask, pattern = torch.zeros(2, 2), torch.ones(1, 2, 2)
    assert success_rate(Brightest(), images, labels, mask, pattern, 1) == 0.0
    mask[0, 0] = 1.0
    assert success_rate(Brightest(), images, labels, mask, pattern, 1) == 100.0
    assert np.isnan(success_rate(Brightest(), images[3:], labels[3:], mask, pattern, 1))


def test_a_frozen_copy_has_no_gradients_and_leaves_the_network() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train()
    copied = frozen_copy(network)
    assert not copied.training
    assert network.training
    assert not any(parameter.requires_grad for parameter in copied.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_size_is_the_sum_of_the_mask() -> None:
    trigger = RecoveredTrigger(3, np.full((2, 3), 0.5, np.float32), np.ones((1, 2, 3), np.float32), 99.0)
    assert trigger.size == 3.0
    assert np.isnan(trigger.before)
