"""Distances between updates: as exact as explicit differences in float64."""

import math

import numpy as np
import pytest
from hypothesis import given
from numpy.testing import assert_allclose

from fedsec.defenses import RoundUpdates
from fedsec.defenses.distances import (
    LONG,
    cosine_distances,
    gram_matrix,
    inner_products,
    pairwise_squared_distances,
    row_norms,
    squared_distances,
)
from fedsec.defenses.updates import Matrix, Vector
from tests.defenses.rounds import (
    FAR,
    brief,
    continuous_rounds,
    normal_rows,
    rounds,
    slow_cosine_distances,
    slow_squared_distances,
)


def relative_error(found: Vector, exact: Vector) -> float:
    """Return the largest relative error off the diagonal."""
    pairs = ~np.eye(len(exact), dtype=bool)
    return float(np.max(np.abs(found[pairs] / exact[pairs] - 1.0)))


def slow_cosine_distance(a: Vector, b: Vector) -> float:
    products = [sum(float(x) * float(y) for x, y in zip(u, v, strict=True)) for u, v in ((a, b), (a, a), (b, b))]
    return 1.0 if 0.0 in products[1:] else 1.0 - products[0] / math.sqrt(products[1]) / math.sqrt(products[2])


@brief
@given(rounds())
def test_distances_match_the_definition(updates: RoundUpdates) -> None:
    exact = slow_squared_distances(updates.deltas)
    largest = float(np.square(updates.deltas, dtype=np.float64).sum(axis=1).max())
    assert_allclose(pairwise_squared_distances(updates.deltas), exact, rtol=1e-5, atol=1e-12 * largest)


@brief
@given(rounds())
def test_cosine_distances_match_the_definition(updates: RoundUpdates) -> None:
    found = cosine_distances(gram_matrix(updates.deltas))
    exact = np.array([[slow_cosine_distance(a, b) for b in updates.deltas] for a in updates.deltas])
    np.fill_diagonal(exact, 0.0)
    assert_allclose(found, exact, atol=1e-6)


@brief
@given(rounds())
def test_norms_and_inner_products_match_the_definition(updates: RoundUpdates) -> None:
    wide = updates.deltas.astype(np.float64)
    vector = np.linspace(-1.0, 1.0, wide.shape[1])
    assert_allclose(row_norms(updates.deltas), [math.sqrt(sum(x * x for x in row)) for row in wide], rtol=1e-12)
    expected = [math.fsum(x * y for x, y in zip(row, vector, strict=True)) for row in wide]
    assert_allclose(inner_products(updates.deltas, vector), expected, rtol=1e-12, atol=1e-11)


@brief
@given(rounds())
def test_distances_are_symmetric_and_not_negative_and_zero_to_oneself(updates: RoundUpdates) -> None:
    gram = gram_matrix(updates.deltas)
    for distances in (squared_distances(gram), cosine_distances(gram)):
        assert np.array_equal(distances, distances.T)
        assert np.all(distances >= 0.0)
        assert np.all(np.diag(distances) == 0.0)


@brief
@given(continuous_rounds())
def test_cosines_do_not_depend_on_the_length_of_the_rows(updates: RoundUpdates) -> None:
    longer = updates.deltas * np.float32(8.0)
    assert_allclose(cosine_distances(gram_matrix(longer)), cosine_distances(gram_matrix(updates.deltas)), rtol=1e-6)


def test_three_rows_by_hand() -> None:
    rows = np.array([[3.0, 4.0], [0.0, 0.0], [4.0, 3.0]], np.float32)
    gram = gram_matrix(rows)
    assert_allclose(gram, [[25.0, 0.0, 24.0], [0.0, 0.0, 0.0], [24.0, 0.0, 25.0]])
    assert_allclose(squared_distances(gram), [[0.0, 25.0, 2.0], [25.0, 0.0, 25.0], [2.0, 25.0, 0.0]])
    assert_allclose(cosine_distances(gram), [[0.0, 1.0, 0.04], [1.0, 0.0, 1.0], [0.04, 1.0, 0.0]])
    assert_allclose(row_norms(rows), [5.0, 0.0, 5.0])


def test_a_zero_vector_is_at_cosine_distance_one_even_from_another_zero_vector() -> None:
    distances = cosine_distances(gram_matrix(np.array([[0.0, 0.0], [1.0, 2.0], [0.0, 0.0]], np.float32)))
    assert_allclose(distances, [[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])


@pytest.mark.parametrize("d", [3, 500, 20_000])
@pytest.mark.parametrize("centre", [0.0, 1.0, 2.9, 10.0, 1000.0])
def test_a_common_component_costs_no_digits(centre: float, d: int) -> None:
    rows = normal_rows(8, d, centre=centre)
    assert relative_error(pairwise_squared_distances(rows), slow_squared_distances(rows)) <= 1e-7


def near_duplicates(d: int) -> Matrix:
    """Return rows of norm 1 that are 1e-3 apart."""
    rows = normal_rows(1, d) + 1e-3 * normal_rows(8, d, seed=1)
    scaled: Matrix = (rows / np.linalg.norm(rows[0])).astype(np.float32)
    return scaled


@pytest.mark.parametrize("d", [3, 500, 20_000])
def test_near_duplicates_keep_their_distances(d: int) -> None:
    rows = near_duplicates(d)
    assert relative_error(pairwise_squared_distances(rows), slow_squared_distances(rows)) <= 1e-7
    assert relative_error(cosine_distances(gram_matrix(rows)), slow_cosine_distances(rows)) <= 1e-6


@pytest.mark.parametrize("spread", [0.02, 1.0])
def test_long_rows_keep_their_distances_whether_they_are_parallel_or_not(spread: float) -> None:
    rows = normal_rows(1, LONG) + spread * normal_rows(3, LONG, seed=1)
    assert relative_error(pairwise_squared_distances(rows), slow_squared_distances(rows)) <= 1e-7


@pytest.mark.parametrize("d", [3, 500, 20_000])
def test_one_far_outlier_costs_the_others_no_digits(d: int) -> None:
    rows = normal_rows(8, d)
    rows[0] *= FAR
    assert relative_error(pairwise_squared_distances(rows), slow_squared_distances(rows)) <= 1e-7


def test_cosines_keep_their_digits_when_one_row_is_almost_a_multiple_of_another() -> None:
    rows = normal_rows(3, 2000)
    rows[1] = 3.0 * rows[0] + 1e-3 * rows[1]
    assert relative_error(cosine_distances(gram_matrix(rows)), slow_cosine_distances(rows)) <= 1e-6


@pytest.mark.parametrize("scale", [1e-22, 1e-10, 1e10, 1e20])
def test_distances_hold_at_every_scale_of_float32(scale: float) -> None:
    rows = normal_rows(4, 2000) * np.float32(scale)
    assert_allclose(pairwise_squared_distances(rows), slow_squared_distances(rows), rtol=1e-5)


def test_the_raw_float32_gram_would_pick_the_wrong_client_near_convergence() -> None:
    wrong = 0
    for seed in range(5):
        deltas = normal_rows(10, 100_000, seed=seed, spread=1e-3)
        exact = slow_squared_distances(deltas).sum(axis=1)
        models = normal_rows(1, 100_000, seed=100 + seed) + deltas
        raw = models @ models.T
        naive = np.diag(raw)[:, None] + np.diag(raw)[None, :] - 2.0 * raw
        wrong += int(np.argmin(naive.sum(axis=1)) != np.argmin(exact))
        assert np.argmin(pairwise_squared_distances(deltas).sum(axis=1)) == np.argmin(exact)
    assert wrong > 0
