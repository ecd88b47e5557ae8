"""Plain averaging, and the weighted sum under most defenses."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from fedsec.defenses import RoundUpdates
from fedsec.defenses import mean as module
from fedsec.defenses.mean import Weighting, mean, weighted_sum
from fedsec.defenses.updates import Matrix, Vector
from tests.defenses.rounds import brief, normal_rows, round_of, rounds


def slow_weighted_sum(rows: Matrix, weights: Vector) -> list[float]:
    return [sum(float(weights[i]) * float(rows[i, j]) for i in range(rows.shape[0])) for j in range(rows.shape[1])]


def slow_mean(updates: RoundUpdates, weighting: Weighting) -> list[float]:
    counts = [int(count) if weighting == "examples" else 1 for count in updates.num_examples]
    return slow_weighted_sum(updates.deltas, np.array([count / sum(counts) for count in counts]))


@pytest.mark.parametrize("weighting", ["equal", "examples"])
@brief
@given(rounds(clients=(1, 9)))
def test_the_mean_matches_the_definition(weighting: Weighting, updates: RoundUpdates) -> None:
    verdict = mean(updates, weighting=weighting)
    assert_allclose(verdict.delta, slow_mean(updates, weighting), rtol=1e-5, atol=1e-4)
    assert_allclose(verdict.weights.sum(), 1.0)
    assert np.all(verdict.scores == 0.0)


@brief
@given(rounds(clients=(1, 9)))
def test_the_mean_lies_between_the_lowest_and_the_highest_value(updates: RoundUpdates) -> None:
    delta = mean(updates, weighting="examples").delta
    assert np.all(delta >= updates.deltas.min(axis=0) - 1e-4)
    assert np.all(delta <= updates.deltas.max(axis=0) + 1e-4)


@brief
@given(rounds(), st.lists(st.floats(0.0, 1.0).map(lambda w: round(w, 2)), min_size=9, max_size=9))
def test_the_weighted_sum_matches_the_definition(updates: RoundUpdates, weights: list[float]) -> None:
    used = np.array(weights[: len(updates)])
    assert_allclose(weighted_sum(updates.deltas, used), slow_weighted_sum(updates.deltas, used), rtol=1e-5, atol=1e-3)


def test_three_clients_by_hand() -> None:
    updates = round_of([[1.0, 0.0], [2.0, 3.0], [6.0, 0.0]], num_examples=[1, 2, 1])
    assert_allclose(mean(updates).delta, [3.0, 1.0], rtol=1e-6)
    assert_allclose(mean(updates).weights, [1 / 3, 1 / 3, 1 / 3])
    assert_allclose(mean(updates, weighting="examples").delta, [2.75, 1.5], rtol=1e-6)
    assert_allclose(mean(updates, weighting="examples").weights, [0.25, 0.5, 0.25])


def test_claimed_examples_weigh_nothing_by_default() -> None:
    liar = round_of([[1.0], [3.0]], num_examples=[1, 10**9])
    assert_allclose(mean(liar).delta, [2.0])


@pytest.mark.parametrize("kept", [[2], [1, 2]])
def test_rows_of_weight_zero_are_not_read(kept: list[int]) -> None:
    rows = normal_rows(3, 70_000)
    weights = np.zeros(3)
    weights[kept] = 0.5
    expected = 0.5 * rows[kept].astype(np.float64).sum(axis=0)
    rows[0] = np.nan
    assert_allclose(weighted_sum(rows, weights), expected, rtol=1e-5, atol=1e-6)


def test_no_weights_at_all_give_zero() -> None:
    assert np.array_equal(weighted_sum(normal_rows(3, 5), np.zeros(3)), np.zeros(5, np.float32))


def test_what_the_sum_is_added_to_is_scaled_and_makes_room_for_it() -> None:
    onto = np.array([1.0, 2.0], np.float32)
    total = weighted_sum(np.array([[1.0, 1.0], [3.0, 5.0]], np.float32), np.array([0.5, 0.5]), onto, 10.0)
    assert_allclose(total, [12.0, 23.0])
    assert total is onto


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 17])
@pytest.mark.parametrize("compiled", [True, False])
def test_long_rows_are_summed_alike_with_numba_and_without(
    n: int, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, weights = normal_rows(n, 20_001), np.linspace(-1.0, 2.0, n)
    weights[n // 2 + 1 :: 2] = 0.0
    expected = weights @ rows.astype(np.float64)
    rows[weights == 0.0] = np.nan
    monkeypatch.setattr(module, "LONG", 1)
    if compiled:
        pytest.importorskip("numba")
    else:
        monkeypatch.setitem(sys.modules, "fedsec.defenses.compiled_products", None)
    onto = normal_rows(1, 20_001, seed=1)[0]
    assert_allclose(weighted_sum(rows, weights), expected, atol=1e-5)
    assert_allclose(weighted_sum(rows, weights, onto.copy(), 2.0), expected + 2.0 * onto, atol=2e-5)
