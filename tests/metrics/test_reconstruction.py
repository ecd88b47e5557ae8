"""Macro scores, ROC curves, distances and SSIM, against their definitions read aloud."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedsec.metrics.reconstruction import (
    distance_of_means,
    distances,
    macro_scores,
    nearest,
    roc_of_class,
    spread,
    ssim,
)

Images = NDArray[np.uint8]


def images(seed: int, number: int, side: int = 12) -> Images:
    return np.random.default_rng(seed).integers(0, 256, (number, 1, side, side), dtype=np.uint8)


def test_macro_scores_by_hand() -> None:
    labels, predicted = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    scores = macro_scores(predicted, labels, [0, 1])
    assert scores.precision == pytest.approx((1 + 2 / 3) / 2)
    assert scores.recall == pytest.approx((1 / 2 + 1) / 2)
    assert scores.f1 == pytest.approx((2 / 3 + 4 / 5) / 2)


def test_one_image_that_is_taken_for_the_extra_class_costs_as_much_as_a_class_that_is_never_found() -> None:
    labels = np.repeat(np.arange(10), 100)
    predicted = labels.copy()
    predicted[0] = 10
    without, with_extra = macro_scores(predicted, labels, range(10)), macro_scores(predicted, labels)
    assert without.recall == pytest.approx(0.999)
    assert with_extra.recall == pytest.approx(0.999 * 10 / 11)
    assert with_extra.precision == pytest.approx(10 / 11)
    assert np.mean(predicted == labels) == pytest.approx(0.999)


def test_the_area_under_a_roc_curve_is_the_chance_that_a_right_image_has_the_higher_score() -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 3, 200), rng.integers(0, 20, 200) / 20
    roc = roc_of_class(scores, labels, 1)
    assert roc is not None
    right, wrong = scores[labels == 1][:, None], scores[labels != 1][None]
    assert roc.auc == pytest.approx(np.mean((right > wrong) + 0.5 * (right == wrong)))
    assert (roc.false_positive[0], roc.false_positive[-1], roc.true_positive[-1]) == (0, 1, 1)
    assert np.all(np.diff(roc.true_positive) >= 0)


def test_a_perfect_class_has_an_area_of_one_and_one_without_images_has_no_curve() -> None:
    labels = np.array([0, 0, 1, 1])
    roc = roc_of_class(np.array([0.9, 0.8, 0.1, 0.2]), labels, 0)
    assert roc is not None
    assert roc.auc == 1
    assert set(roc.true_positive) == {1.0}
    assert roc_of_class(np.zeros(4), labels, 2) is None
    assert roc_of_class(np.zeros(2), np.zeros(2, np.int64), 0) is None


@settings(max_examples=20)
@given(st.integers(0, 9), st.integers(1, 6), st.integers(1, 6))
def test_distances_are_their_definitions(seed: int, n: int, m: int) -> None:
    made, real = images(seed, n, 4), images(seed + 1, m, 4)
    a, b = made.reshape(n, -1) / 255, real.reshape(m, -1) / 255
    pairs = [[np.linalg.norm(x - y) for y in b] for x in a]
    found = distances(made, real)
    assert found.pairs == pytest.approx(np.mean(pairs), rel=1e-6)
    assert found.pairs_squared == pytest.approx(np.mean(np.square(pairs)) / 16, rel=1e-6)
    assert found.of_means == pytest.approx(np.mean((a.mean(0) - b.mean(0)) ** 2))
    near, which = nearest(made, real)
    np.testing.assert_array_equal(which, np.argmin(pairs, 1))
    np.testing.assert_allclose(near, np.min(pairs, 1) / 4, rtol=1e-6)


def test_only_the_distance_of_averages_can_be_as_small_as_the_paper_s() -> None:
    made, real = images(0, 300, 4), images(1, 300, 4)
    assert distance_of_means(made, real) < 0.00173
    assert distances(made, real).pairs_squared > 0.1
    grey = np.full((5, 1, 4, 4), 128, np.uint8)
    assert distance_of_means(grey, np.zeros_like(grey)) == pytest.approx((128 / 255) ** 2)


def test_images_differ_by_their_deviation_and_equal_ones_not_at_all() -> None:
    assert spread(np.repeat(images(3, 1), 4, 0)) == 0
    two = np.stack([np.zeros((1, 4, 4)), np.full((1, 4, 4), 255)]).astype(np.uint8)
    assert spread(two) == pytest.approx(0.5)


def slow_ssim(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return SSIM of two images (H, W) with pixels from 0 to 1, window by window."""
    places = np.arange(11) - 5
    weights = np.exp(-(places[:, None] ** 2 + places[None] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    values = []
    for row in range(x.shape[0] - 10):
        for column in range(x.shape[1] - 10):
            a, b = (of[row : row + 11, column : column + 11] for of in (x, y))
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            var_a, var_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
            both = (weights * (a - mean_a) * (b - mean_b)).sum()
            above = (2 * mean_a * mean_b + 0.01**2) * (2 * both + 0.03**2)
            values.append(above / ((mean_a**2 + mean_b**2 + 0.01**2) * (var_a + var_b + 0.03**2)))
    return float(np.mean(values))


def test_ssim_is_its_definition_and_symmetric() -> None:
    first, second = images(4, 3), images(5, 3)
    expected = [slow_ssim(a[0] / 255, b[0] / 255) for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(ssim(first, second), expected, rtol=1e-9)
    np.testing.assert_allclose(ssim(second, first), expected, rtol=1e-9)
    np.testing.assert_allclose(ssim(first, first), 1.0)


def test_images_smaller_than_the_window_have_one_of_their_own_side() -> None:
    assert ssim(images(6, 2, 8), images(7, 2, 8)).shape == (2,)
