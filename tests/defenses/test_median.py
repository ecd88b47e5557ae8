"""Coordinate-wise median."""

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from fedsec.defenses import RoundUpdates, blocks
from fedsec.defenses.median import coordinate_median
from fedsec.defenses.updates import Matrix, Vector
from tests.defenses.rounds import brief, continuous_rounds, normal_rows, round_of, rounds, with_outlier


def slow_shares(rows: Matrix, ranks: range) -> Vector:
    """Return the share of each client's values that have one of these ranks, for columns without equal values."""
    counts = [0] * len(rows)
    for column in rows.T:
        order = sorted(range(len(column)), key=lambda i: float(column[i]))
        for rank in ranks:
            counts[order[rank]] += 1
    return np.array([count / rows.shape[1] for count in counts])


@brief
@given(rounds(clients=(1, 9)))
def test_the_median_matches_the_definition(updates: RoundUpdates) -> None:
    slow = [statistics.median(float(value) for value in column) for column in updates.deltas.T]
    assert_allclose(coordinate_median(updates).delta, slow, rtol=1e-6, atol=1e-10)


@brief
@given(continuous_rounds(clients=(1, 12)))
def test_weights_and_scores_count_the_values_in_the_middle_and_outside_the_quartiles(updates: RoundUpdates) -> None:
    n = len(updates)
    middle = slow_shares(updates.deltas, range((n - 1) // 2, n // 2 + 1))
    inner = slow_shares(updates.deltas, range((n + 1) // 4, n - (n + 1) // 4))
    verdict = coordinate_median(updates)
    assert_allclose(verdict.weights, middle / middle.sum())
    assert_allclose(verdict.scores, 1.0 - inner, atol=1e-12)


@brief
@given(rounds(clients=(1, 9)))
def test_weights_sum_to_one_and_scores_are_shares(updates: RoundUpdates) -> None:
    verdict = coordinate_median(updates)
    assert_allclose(verdict.weights.sum(), 1.0)
    assert np.all((verdict.scores >= 0.0) & (verdict.scores <= 1.0))


@brief
@given(rounds(clients=(3, 9)), st.sampled_from([-1e30, 1e30]))
def test_less_than_half_of_the_clients_cannot_leave_the_range_of_the_others(
    updates: RoundUpdates, value: float
) -> None:
    bad = (len(updates) - 1) // 2
    attacked = updates.deltas.copy()
    attacked[:bad] = value
    delta = coordinate_median(round_of(attacked)).delta
    honest = updates.deltas[bad:]
    assert np.all((delta >= honest.min(axis=0)) & (delta <= honest.max(axis=0)))


@brief
@given(continuous_rounds(), st.sampled_from([-2.0, 0.5, 4.0]))
def test_the_median_scales_with_the_updates_and_the_verdict_on_the_clients_does_not(
    updates: RoundUpdates, factor: float
) -> None:
    once, scaled = coordinate_median(updates), coordinate_median(round_of(updates.deltas * factor))
    assert_allclose(scaled.delta, once.delta * factor, rtol=1e-6)
    assert_allclose(scaled.weights, once.weights)
    assert_allclose(scaled.scores, once.scores)


def test_an_odd_number_of_clients_by_hand() -> None:
    verdict = coordinate_median(round_of([[1.0, 50.0], [2.0, 40.0], [3.0, 30.0]]))
    assert_allclose(verdict.delta, [2.0, 40.0])
    assert_allclose(verdict.weights, [0.0, 1.0, 0.0])
    assert_allclose(verdict.scores, [1.0, 0.0, 1.0])


def test_an_even_number_of_clients_by_hand() -> None:
    verdict = coordinate_median(round_of([[1.0, 7.0], [2.0, 5.0], [4.0, 0.0], [90.0, 6.0]]))
    assert_allclose(verdict.delta, [3.0, 5.5])
    assert_allclose(verdict.weights, [0.0, 0.5, 0.25, 0.25])
    assert_allclose(verdict.scores, [1.0, 0.0, 0.5, 0.5])


def test_equal_values_count_as_in_the_middle() -> None:
    verdict = coordinate_median(round_of([[7.0], [7.0], [7.0], [9.0]]))
    assert_allclose(verdict.delta, [7.0])
    assert_allclose(verdict.weights, [1 / 3, 1 / 3, 1 / 3, 0.0])
    assert_allclose(verdict.scores, [0.0, 0.0, 0.0, 1.0])


@pytest.mark.parametrize("n", [1, 2])
def test_one_client_or_two_are_averaged_and_not_suspected(n: int) -> None:
    updates = round_of(normal_rows(n, 20))
    verdict = coordinate_median(updates)
    assert_allclose(verdict.delta, updates.deltas.mean(axis=0), rtol=1e-6)
    assert_allclose(verdict.weights, 1.0 / n)
    assert_allclose(verdict.scores, 0.0)


def test_compiled_or_not_the_verdict_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    updates = with_outlier(11, 30_001)
    sorted_ = coordinate_median(updates)
    monkeypatch.setattr(blocks, "SMALL", 0)
    compiled = coordinate_median(updates)
    assert np.array_equal(compiled.delta, sorted_.delta)
    assert np.array_equal(compiled.weights, sorted_.weights)
    assert np.array_equal(compiled.scores, sorted_.scores)
