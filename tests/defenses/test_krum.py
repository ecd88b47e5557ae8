"""Krum and multi-Krum."""

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from fedsec.defenses import OptionError, RoundUpdates, TooFewClientsError
from fedsec.defenses.krum import Distance, Neighbours, krum, krum_scores, multi_krum
from fedsec.defenses.mean import mean
from fedsec.defenses.updates import Matrix
from tests.defenses.rounds import FAR, brief, continuous_rounds, normal_rows, round_of, rounds


def slow_scores(rows: Matrix, f: int, neighbours: Neighbours, distance: Distance) -> list[float]:
    """Return for each i the sum of its distances to the n - f - 2 closest others, or to all others."""
    n, scores = len(rows), []
    for i in range(n):
        to_others = []
        for j in range(n):
            if j != i:
                squared = math.fsum((float(a) - float(b)) ** 2 for a, b in zip(rows[i], rows[j], strict=True))
                to_others.append(squared if distance == "squared" else math.sqrt(squared))
        to_others.sort()
        scores.append(math.fsum(to_others[: n - f - 2] if neighbours == "nearest" else to_others))
    return scores


@pytest.mark.parametrize(("neighbours", "distance"), list(product(["nearest", "all"], ["squared", "euclidean"])))
@brief
@given(continuous_rounds(clients=(3, 11)), st.data())
def test_scores_match_the_definition(
    neighbours: Neighbours, distance: Distance, updates: RoundUpdates, data: st.DataObject
) -> None:
    f = data.draw(st.integers(0, (len(updates) - 3) // 2))
    exact = slow_scores(updates.deltas, f, neighbours, distance)
    assert_allclose(krum_scores(updates.deltas, f, neighbours=neighbours, distance=distance), exact, rtol=1e-5)


@brief
@given(rounds(clients=(5, 9)))
def test_scores_match_the_definition_when_clients_are_equal(updates: RoundUpdates) -> None:
    exact = slow_scores(updates.deltas, 1, "nearest", "squared")
    largest = float(np.square(updates.deltas, dtype=np.float64).sum(axis=1).max())
    assert_allclose(krum_scores(updates.deltas, 1), exact, rtol=1e-5, atol=1e-11 * largest)


@pytest.mark.parametrize("neighbours", ["nearest", "all"])
@brief
@given(continuous_rounds(clients=(7, 9)))
def test_krum_takes_the_update_with_the_lowest_score(neighbours: Neighbours, updates: RoundUpdates) -> None:
    exact = slow_scores(updates.deltas, 2, neighbours, "squared")
    best, second = sorted(exact)[:2]
    assume(second > best * (1 + 1e-4))
    winner = exact.index(best)
    verdict = krum(updates, 2, neighbours=neighbours)
    assert np.array_equal(verdict.delta, updates.deltas[winner])
    assert_allclose(verdict.weights, np.eye(len(updates))[winner])


@brief
@given(continuous_rounds(clients=(5, 9)), st.floats(-10.0, 10.0))
def test_scores_ignore_what_all_updates_have_in_common(updates: RoundUpdates, shift: float) -> None:
    scale = float(np.abs(updates.deltas).max())
    moved = (updates.deltas.astype(np.float64) + shift * scale).astype(np.float32)
    assert_allclose(krum_scores(moved, 1), krum_scores(updates.deltas, 1), rtol=1e-3)


@brief
@given(continuous_rounds(clients=(5, 9)))
def test_scores_grow_with_the_square_of_the_updates_or_with_the_updates(updates: RoundUpdates) -> None:
    tenfold = (10.0 * updates.deltas.astype(np.float64)).astype(np.float32)
    for distance, factor in (("squared", 100.0), ("euclidean", 10.0)):
        before = krum_scores(updates.deltas, 1, distance=distance)  # type: ignore[arg-type]
        assert_allclose(krum_scores(tenfold, 1, distance=distance), factor * before, rtol=1e-4)  # type: ignore[arg-type]


@brief
@given(continuous_rounds(clients=(5, 9)))
def test_multi_krum_of_one_is_krum_and_of_all_is_the_mean(updates: RoundUpdates) -> None:
    one, everybody = multi_krum(updates, 1, 1), multi_krum(updates, 1, len(updates))
    assert np.array_equal(one.delta, krum(updates, 1).delta)
    assert np.array_equal(one.weights, krum(updates, 1).weights)
    assert_allclose(everybody.weights, mean(updates).weights)
    assert_allclose(everybody.delta, mean(updates).delta, rtol=1e-6)


@brief
@given(continuous_rounds(clients=(7, 11)), st.integers(0, 2))
def test_multi_krum_keeps_the_n_minus_f_with_the_lowest_scores(updates: RoundUpdates, f: int) -> None:
    verdict = multi_krum(updates, f)
    kept = verdict.weights > 0.0
    assert kept.sum() == len(updates) - f
    assert_allclose(verdict.weights[kept], 1.0 / (len(updates) - f))
    assert f == 0 or verdict.scores[kept].max() <= verdict.scores[~kept].min()
    assert_allclose(verdict.delta, updates.deltas[kept].mean(axis=0, dtype=np.float64), rtol=1e-4, atol=1e-4)


def test_five_clients_on_a_line_by_hand() -> None:
    # f = 1: each score sums the n - f - 2 = 2 smallest squared distances to others.
    updates = round_of([[0.0], [1.0], [3.0], [4.5], [50.0]])
    verdict = krum(updates, 1)
    assert_allclose(verdict.scores, [1 + 9, 1 + 4, 2.25 + 4, 2.25 + 12.25, 45.5**2 + 47**2])
    assert_allclose(verdict.weights, [0, 1, 0, 0, 0])
    assert_allclose(verdict.delta, [1.0])
    assert_allclose(multi_krum(updates, 1, 2).weights, [0, 0.5, 0.5, 0, 0])
    assert_allclose(multi_krum(updates, 1, 2).delta, [2.0])


def test_the_same_five_clients_with_distances_to_all_by_hand() -> None:
    verdict = krum(round_of([[0.0], [1.0], [3.0], [4.5], [50.0]]), neighbours="all", distance="euclidean")
    assert_allclose(verdict.scores, [58.5, 55.5, 53.5, 55.0, 191.5])
    assert_allclose(verdict.delta, [3.0])


def test_the_first_of_equals_wins() -> None:
    assert_allclose(krum(round_of([[9.0], [1.0], [1.0], [1.0], [1.0]]), 1).weights, [0, 1, 0, 0, 0])


def test_far_decoys_hijack_the_sum_of_squared_distances_to_all_but_not_krum() -> None:
    for seed in range(10):
        rows = normal_rows(10, 100, seed=seed)
        rows[0] = FAR
        rows[1] = np.delete(rows, 1, axis=0).mean(axis=0)
        assert krum(round_of(rows), neighbours="all").weights[1] == 1.0
        assert krum(round_of(rows), 2).weights[1] == 0.0


@pytest.mark.parametrize(
    ("num_malicious", "message"),
    [(None, "missing; Krum must be told"), (-1, "whole number from 0; got -1"), (1.5, "whole number from 0; got 1.5")],
)
def test_krum_must_be_told_how_many_are_malicious(num_malicious: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message) as e:
        krum(round_of(normal_rows(5, 2)), num_malicious)
    assert e.value.option == "num_malicious"
    assert not isinstance(e.value, TooFewClientsError)


def test_the_sum_over_all_needs_no_number_of_malicious_clients() -> None:
    assert krum(round_of(normal_rows(2, 2)), neighbours="all").weights.sum() == 1.0


@pytest.mark.parametrize(("n", "f"), [(2, 0), (4, 1), (10, 4)])
def test_krum_and_multi_krum_refuse_fewer_than_2f_plus_3_clients(n: int, f: int) -> None:
    for defense in (krum, multi_krum):
        with pytest.raises(TooFewClientsError, match=f"got n={n} and num_malicious={f}") as error:
            defense(round_of(normal_rows(n, 2)), f)
        assert error.value.option == "num_malicious"
        assert defense(round_of(normal_rows(2 * f + 3, 2)), f).weights.sum() == pytest.approx(1.0)


def test_multi_krum_refuses_to_select_more_clients_than_there_are() -> None:
    with pytest.raises(TooFewClientsError, match="select 6 clients; got n=5") as error:
        multi_krum(round_of(normal_rows(5, 2)), 1, 6)
    assert error.value.option == "num_selected"


@pytest.mark.parametrize("num_selected", [0, -1])
def test_multi_krum_refuses_to_select_nobody(num_selected: int) -> None:
    with pytest.raises(OptionError, match=str(num_selected)) as error:
        multi_krum(round_of(normal_rows(5, 2)), 1, num_selected)
    assert error.value.option == "num_selected"
