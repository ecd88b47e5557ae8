"""The forest of single numbers is an Isolation Forest: the definition's, and scikit-learn's."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.ensemble import IsolationForest

from fedsec.defenses import isolation_forest
from fedsec.defenses.isolation_forest import average_path, isolation_scores
from fedsec.defenses.updates import Vector
from tests.defenses.rounds import brief

DIFFERENT = st.lists(st.floats(-1e3, 1e3).map(lambda x: round(x, 3)), min_size=2, max_size=12)


def scores(values: list[float], seed: int = 0) -> Vector:
    return isolation_scores(np.array(values), np.random.default_rng(seed))


def slow_path(value: float, values: list[float], depth: int, limit: int) -> float:
    """Return E[h] of one of ``values`` by the definition: a cut at a uniform place between lowest and highest."""
    ordered = sorted(values)
    span = ordered[-1] - ordered[0]
    if depth == limit or span == 0.0:
        return depth + slow_average_path(len(values))
    total = 0.0
    for low, high in pairwise(ordered):
        side = [x for x in ordered if (x <= low) == (value <= low)]
        if high > low:
            total += (high - low) / span * slow_path(value, side, depth + 1, limit)
    return total


def slow_average_path(size: int) -> float:
    if size <= 2:
        return float(size - 1)
    return 2.0 * (math.log(size - 1) + 0.5772156649) - 2.0 * (size - 1) / size


@pytest.mark.parametrize(
    "values", [[1.0, 2.0, 4.0, 7.0], [0.0, 1.0, 1.1, 1.2, 1.3, 9.0], [1.0, 1.0, 2.0, 5.0, 5.0, 5.5, 6.0]]
)
def test_scores_are_those_of_the_definition(values: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation_forest, "TREES", 40_000)
    limit = math.ceil(math.log2(len(values)))
    paths = np.array([slow_path(value, values, 0, limit) for value in values])
    assert_allclose(scores(values), 2.0 ** (-paths / slow_average_path(len(values))), atol=0.003)


@pytest.mark.parametrize("n", [3, 20])
def test_scores_are_those_of_scikit_learn(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(n).normal(1.0, 0.15, n)
    pairs = np.column_stack([np.zeros(n), values])
    theirs = IsolationForest(n_estimators=400, max_samples=n, random_state=999).fit(pairs)
    monkeypatch.setattr(isolation_forest, "TREES", 4000)
    assert_allclose(scores(values.tolist()), -theirs.score_samples(pairs), atol=0.02)


def test_an_example_by_hand() -> None:
    # The first cut parts 10 from the zeros, always: its depth is 1, that of the zeros 1 + c(3).
    c3, c4 = 2 * (math.log(2) + 0.5772156649) - 4 / 3, 2 * (math.log(3) + 0.5772156649) - 1.5
    assert_allclose(scores([0.0, 10.0, 0.0, 0.0]), [2 ** (-h / c4) for h in (1 + c3, 1, 1 + c3, 1 + c3)])
    assert_allclose(scores([0.0, 10.0, 0.0, 0.0]), [0.438, 0.688, 0.438, 0.438], atol=5e-4)


def test_the_mean_path_of_a_search_tree() -> None:
    assert_allclose(average_path(np.array([0, 1, 2, 3, 4])), [0, 0, 1, 1.20739, 1.85166], atol=1e-5)


@pytest.mark.parametrize("values", [[], [3.0], [3.0, 3.0, 3.0], [1.0, 2.0]])
def test_where_nobody_stands_apart_nobody_is_an_outlier(values: list[float]) -> None:
    assert scores(values).tolist() == [0.5] * len(values)


@brief
@given(DIFFERENT, st.data())
def test_scores_follow_the_values_whatever_their_order(values: list[float], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(values))))
    assert_allclose(scores([values[i] for i in order]), scores(values)[order])


@brief
@given(DIFFERENT, st.sampled_from([2.0**-30, 0.5, 2.0**40]))
def test_the_unit_of_the_values_changes_no_score(values: list[float], scale: float) -> None:
    assert_allclose(scores([scale * value for value in values]), scores(values))


def test_the_values_are_left_as_they_were_and_equal_ones_have_equal_scores() -> None:
    values = np.array([3.0, 1.0, 3.0, 9.0])
    found = isolation_scores(values, np.random.default_rng(1))
    assert values.tolist() == [3.0, 1.0, 3.0, 9.0]
    assert found[0] == found[2]


@pytest.mark.parametrize("huge", [1e30, 1e308])
def test_values_as_large_as_numbers_get_are_outliers_and_no_error(huge: float) -> None:
    found = scores([1.0, 1.1, 0.9, huge, 1.0])
    assert np.argmax(found) == 3
    assert found[3] > 0.5
    assert np.isfinite(scores([-huge, 1.0, huge, 1e-300, 5e-324])).all()
