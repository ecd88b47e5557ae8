"""A poisoned update is no longer than an honest one, and points where it did."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedsec.attacks.evasion import no_longer_than

Model = list[NDArray[np.float32]]


def models(seed: int, lengths: tuple[float, float]) -> tuple[Model, Model, Model]:
    """Return a start of two arrays, and two models whose updates have these lengths or so."""
    rng = np.random.default_rng(seed)
    start = [rng.normal(size=shape).astype(np.float32) for shape in ((3, 4), (5,))]
    ends = [
        [array + np.float32(by) * rng.normal(size=array.shape).astype(np.float32) for array in start] for by in lengths
    ]
    return start, ends[0], ends[1]


def update(start: Model, end: Model) -> NDArray[np.float64]:
    return np.concatenate([np.subtract(b, a, dtype=float).ravel() for a, b in zip(start, end, strict=True)])


lengths = st.floats(0.01, 10.0)


@given(st.integers(0, 99), st.tuples(lengths, lengths))
def test_its_length_is_the_smaller_of_both_and_its_direction_stays(seed: int, drawn: tuple[float, float]) -> None:
    start, poisoned, honest = models(seed, drawn)
    before = [array.copy() for array in (*start, *poisoned, *honest)]
    sent = update(start, no_longer_than(start, poisoned, honest, [True, True]))
    own, other = update(start, poisoned), update(start, honest)
    expected = min(np.linalg.norm(own), np.linalg.norm(other))
    assert np.linalg.norm(sent) == pytest.approx(expected, rel=1e-4, abs=1e-5)
    np.testing.assert_allclose(sent, own * expected / np.linalg.norm(own), atol=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(before, (*start, *poisoned, *honest), strict=True))


@given(st.integers(0, 99))
def test_an_update_that_is_shorter_stays_to_the_bit(seed: int) -> None:
    start, poisoned, honest = models(seed, (0.1, 5.0))
    sent = no_longer_than(start, poisoned, honest, [True, True])
    assert [array.tobytes() for array in sent] == [array.tobytes() for array in poisoned]


def test_three_and_four_scaled_to_one_by_hand() -> None:
    start = [np.zeros(2, np.float32), np.zeros(1, np.float32), np.array(7)]
    poisoned = [np.array([3.0, 4.0], np.float32), np.array([10.0], np.float32), np.array(9)]
    honest = [np.array([0.0, 1.0], np.float32), np.array([99.0], np.float32), np.array(8)]
    weights, statistic, counter = no_longer_than(start, poisoned, honest, [True, False, False])
    np.testing.assert_allclose(weights, [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(statistic, [2.0], rtol=1e-6)
    assert (counter, counter.dtype, weights.dtype) == (9, poisoned[2].dtype, np.float32)


def test_beside_an_honest_model_that_did_not_move_nothing_moves() -> None:
    start, poisoned, _ = models(0, (1.0, 1.0))
    for sent, before in zip(no_longer_than(start, poisoned, start, [True, True]), start, strict=True):
        np.testing.assert_array_equal(sent, before)
    for sent, before in zip(no_longer_than(start, start, poisoned, [True, True]), start, strict=True):
        np.testing.assert_array_equal(sent, before)
