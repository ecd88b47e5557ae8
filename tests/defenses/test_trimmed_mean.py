"""Trimmed mean of coordinates, and the removal of whole updates by distance."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from fedsec.defenses import OptionError, RoundUpdates, TooFewClientsError, Verdict
from fedsec.defenses import order_statistics as module
from fedsec.defenses.krum import Distance
from fedsec.defenses.trimmed_mean import number_trimmed, trim_by_distance, trimmed_mean
from fedsec.defenses.updates import Matrix, Vector
from tests.defenses.rounds import brief, continuous_rounds, normal_rows, round_of, rounds


def slow_trimmed_mean(rows: Matrix, k: int) -> list[float]:
    """Return the mean of what is left of each coordinate without its k largest and k smallest values."""
    result = []
    for column in rows.T:
        left = sorted(float(value) for value in column)[k : len(column) - k]
        result.append(math.fsum(left) / len(left))
    return result


def slow_shares(rows: Matrix, k: int) -> Vector:
    """Return the share of each client's values that were trimmed, for columns without equal values."""
    trimmed = [0] * len(rows)
    for column in rows.T:
        order = sorted(range(len(column)), key=lambda i: float(column[i]))
        for i in order[:k] + order[len(order) - k :]:
            trimmed[i] += 1
    return np.array([count / rows.shape[1] for count in trimmed])


def slow_sums(rows: Matrix, distance: Distance) -> list[float]:
    power = 0.5 if distance == "euclidean" else 1.0
    wide = rows.astype(np.float64)
    return [math.fsum(float(((a - b) ** 2).sum()) ** power for b in wide) for a in wide]


@brief
@given(rounds(clients=(3, 9)), st.sampled_from([0.34, 0.4, 0.45]))
def test_the_trimmed_mean_matches_the_definition(updates: RoundUpdates, ratio: float) -> None:
    k = math.floor(ratio * len(updates))
    assume(2 * k < len(updates))
    found = trimmed_mean(updates, ratio).delta
    assert_allclose(found, slow_trimmed_mean(updates.deltas, k), rtol=1e-6, atol=1e-10)


@brief
@given(continuous_rounds(clients=(5, 12)))
def test_scores_and_weights_count_the_values_that_were_trimmed_and_kept(updates: RoundUpdates) -> None:
    k = math.floor(0.2 * len(updates))
    share = slow_shares(updates.deltas, k)
    verdict = trimmed_mean(updates, 0.2)
    assert_allclose(verdict.scores, share, atol=1e-12)
    assert_allclose(verdict.weights, (1.0 - share) / (1.0 - share).sum())


@brief
@given(rounds(clients=(5, 9)))
def test_weights_sum_to_one_and_scores_are_shares(updates: RoundUpdates) -> None:
    verdict = trimmed_mean(updates, 0.2)
    assert_allclose(verdict.weights.sum(), 1.0)
    assert np.all((verdict.scores >= 0.0) & (verdict.scores <= 1.0))


@brief
@given(rounds(clients=(5, 9)), st.sampled_from([-1e30, 1e30]))
def test_one_client_cannot_leave_the_range_of_the_others(updates: RoundUpdates, value: float) -> None:
    attacked = updates.deltas.copy()
    attacked[0] = value
    delta = trimmed_mean(round_of(attacked), 0.2).delta
    assert np.all((delta >= updates.deltas[1:].min(axis=0)) & (delta <= updates.deltas[1:].max(axis=0)))


def test_five_clients_by_hand() -> None:
    verdict = trimmed_mean(round_of([[1.0, 50.0], [2.0, 40.0], [3.0, 30.0], [4.0, 20.0], [90.0, 25.0]]), 0.2)
    assert_allclose(verdict.delta, [3.0, (40.0 + 30.0 + 25.0) / 3], rtol=1e-6)
    assert_allclose(verdict.weights, [0, 2 / 6, 2 / 6, 1 / 6, 1 / 6])
    assert_allclose(verdict.scores, [1.0, 0.0, 0.0, 0.5, 0.5])


def test_an_even_number_of_clients_can_be_trimmed_to_the_two_in_the_middle() -> None:
    verdict = trimmed_mean(round_of([[8.0], [1.0], [2.0], [4.0]]), 0.25)
    assert_allclose(verdict.delta, [3.0])
    assert_allclose(verdict.weights, [0, 0, 0.5, 0.5])


def test_equal_values_count_as_kept() -> None:
    verdict = trimmed_mean(round_of([[7.0], [7.0], [7.0], [7.0], [9.0]]), 0.2)
    assert_allclose(verdict.delta, [7.0])
    assert_allclose(verdict.weights, [0.25, 0.25, 0.25, 0.25, 0])
    assert_allclose(verdict.scores, [0, 0, 0, 0, 1])


@pytest.mark.parametrize("counted", [1, 1 << 13, 3 << 13])
def test_counting_on_fewer_coordinates_changes_no_average_and_hardly_a_weight(
    counted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    updates = round_of(normal_rows(5, 6 * module.BLOCK + 7))
    every = trimmed_mean(updates, 0.2)
    monkeypatch.setattr(module, "COUNTED_COORDINATES", counted)
    some = trimmed_mean(updates, 0.2)
    assert np.array_equal(some.delta, every.delta)
    assert_allclose(some.weights, every.weights, atol=0.02)
    assert_allclose(some.scores, every.scores, atol=0.02)
    assert_allclose(some.weights.sum(), 1.0)
    assert_allclose(some.scores.mean(), 2 / 5)


@pytest.mark.parametrize("distance", ["euclidean", "squared"])
@brief
@given(continuous_rounds(clients=(4, 9)), st.sampled_from([0.25, 0.5, 0.75]))
def test_whole_updates_with_the_highest_sums_are_removed(
    distance: Distance, updates: RoundUpdates, ratio: float
) -> None:
    kept = len(updates) - math.floor(ratio * len(updates))
    exact = slow_sums(updates.deltas, distance)
    ordered = sorted(exact)
    assume(ordered[kept] > ordered[kept - 1] * (1 + 1e-4))
    expected = [1.0 / kept if score <= ordered[kept - 1] else 0.0 for score in exact]
    verdict = trim_by_distance(updates, ratio, distance=distance)
    assert_allclose(verdict.scores, exact, rtol=1e-5)
    assert_allclose(verdict.weights, expected)
    largest = float(np.abs(updates.deltas).max())
    assert_allclose(verdict.delta, np.array(expected) @ updates.deltas.astype(np.float64), atol=1e-6 * largest)


def test_removal_by_distance_by_hand() -> None:
    verdict = trim_by_distance(round_of([[0.0], [1.0], [3.0], [50.0]]), 0.5)
    assert_allclose(verdict.scores, [54.0, 52.0, 52.0, 146.0])
    assert_allclose(verdict.weights, [0, 0.5, 0.5, 0])
    assert_allclose(verdict.delta, [2.0])


@pytest.mark.parametrize(
    ("n", "ratio", "trimmed"), [(10, 0.3, 3), (10, 0.1, 1), (5, 0.2, 1), (9, 0.2, 1), (10, 0.29, 2), (100, 0.29, 29)]
)
def test_the_number_trimmed_is_the_floor_of_the_exact_product(n: int, ratio: float, trimmed: int) -> None:
    assert number_trimmed(n, ratio, sides=2) == trimmed


@pytest.mark.parametrize(("n", "ratio", "removed"), [(5, 0.1, 0), (10, 0.5, 5), (2, 0.5, 1), (3, 0.9, 2)])
def test_trimming_nobody_or_everybody_is_refused(n: int, ratio: float, removed: int) -> None:
    with pytest.raises(TooFewClientsError, match=f"{ratio} removes {removed} of {n} clients from each side") as error:
        trimmed_mean(round_of(normal_rows(n, 3)), ratio)
    assert error.value.option == "trim_ratio"


@pytest.mark.parametrize(("n", "ratio", "removed"), [(9, 0.1, 0), (4, 0.2, 0)])
def test_removing_nobody_or_everybody_by_distance_is_refused(n: int, ratio: float, removed: int) -> None:
    with pytest.raises(TooFewClientsError, match=f"{ratio} removes {removed} of {n} clients; at least one") as error:
        trim_by_distance(round_of(normal_rows(n, 3)), ratio)
    assert error.value.option == "trim_ratio"


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.1, float("nan")])
@pytest.mark.parametrize("rule", [trimmed_mean, trim_by_distance])
def test_a_ratio_outside_zero_and_one_is_refused(rule: Callable[..., Verdict], ratio: float) -> None:
    with pytest.raises(OptionError, match="trim_ratio must lie between 0 and 1") as error:
        rule(round_of(normal_rows(5, 3)), ratio)
    assert error.value.option == "trim_ratio"
