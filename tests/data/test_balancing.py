"""The measure of skew, and how many images a class lacks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from fedsec.data.balancing import Fill, missing, skew

counts = st.lists(st.integers(0, 1000), min_size=2, max_size=12).map(lambda numbers: np.array(numbers, np.int64))


def slow_skew(numbers: list[int]) -> float:
    """Return the largest difference that the two distributions give any set of classes."""
    total, best = sum(numbers), 0.0
    for chosen in range(2 ** len(numbers)):
        mine = [n for place, n in enumerate(numbers) if chosen >> place & 1]
        best = max(best, abs(sum(mine) / total - len(mine) / len(numbers)))
    return best


@given(st.lists(st.integers(0, 50), min_size=2, max_size=7).filter(any))
def test_skew_is_the_total_variation_distance(numbers: list[int]) -> None:
    assert_allclose(skew(np.array(numbers)), slow_skew(numbers), atol=1e-12)


def test_skew_by_hand() -> None:
    assert skew(np.array([5, 5, 5, 5])) == 0.0
    assert skew(np.array([7, 0, 0, 0])) == 0.75
    assert_allclose(skew(np.array([6, 2, 0, 0])), 0.5)
    assert skew(np.array([0, 0])) == 0.0


@given(counts, st.sampled_from(["largest", "mean", 17]))
def test_filling_evens_out_the_classes_that_are_there(held: np.ndarray, fill: object) -> None:
    lacks = missing(held, fill)  # type: ignore[arg-type]
    after = held + lacks
    assert (lacks >= 0).all()
    assert_array_equal(after == 0, held == 0)
    there = held > 0
    assert skew(after[there]) <= skew(held[there]) + 1e-12
    assert len(set(after[(lacks > 0) & there].tolist())) <= 1


@pytest.mark.parametrize(
    ("held", "fill", "lacks"),
    [
        ([92, 5, 0, 2], "largest", [0, 87, 0, 90]),
        ([92, 4, 7, 1], "mean", [0, 22, 19, 25]),
        ([92, 0, 7, 1], "mean", [0, 0, 18, 24]),
        ([92, 5, 0, 2], 6, [0, 1, 0, 4]),
        ([92, 5, 0, 2], 1, [0, 0, 0, 0]),
    ],
)
def test_how_far_is_a_choice(held: list[int], fill: Fill | int, lacks: list[int]) -> None:
    assert missing(np.array(held), fill).tolist() == lacks


def test_nobody_fills_nothing() -> None:
    assert missing(np.zeros(3, np.int64), "largest").tolist() == [0, 0, 0]
