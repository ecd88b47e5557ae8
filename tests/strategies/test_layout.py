"""The way from arrays to a row and back, for every kind of number that a model may hold."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedsec.strategies.intake import Intake, Limits, Reply
from fedsec.strategies.layout import Layout, mean_apart, median_apart

INTEGERS = [np.int8, np.uint8, np.int32, np.int64, np.uint64]


def round_trip(sent: dict[str, Any], *clients: dict[str, Any]) -> dict[str, Any]:
    """Return what plain averaging makes of the clients' arrays."""
    layout = Layout(sent)
    replies = [Reply(i, lambda arrays=arrays: arrays, 1) for i, arrays in enumerate(clients)]
    updates, side, dropped = Intake().collect(replies, layout, Limits())
    assert not dropped
    weights = np.full(len(clients), 1 / len(clients))
    return layout.rebuild((weights @ updates.deltas).astype(np.float32), mean_apart(side, weights))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_that_nobody_changes_stay_as_they_are(dtype: Any) -> None:
    bounds = np.iinfo(dtype)
    sent = {"n": np.array([bounds.min, bounds.max, bounds.max // 2 + 1], dtype)}
    assert round_trip(sent, sent, sent)["n"].tolist() == sent["n"].tolist()


@given(st.data())
def test_integers_are_averaged_and_rounded(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(INTEGERS))
    bounds = np.iinfo(dtype)
    elements = st.integers(max(int(bounds.min), -1000), min(int(bounds.max), 1000))
    draw = lambda: data.draw(hnp.arrays(dtype, 3, elements=elements))  # noqa: E731
    sent, one, two, three = draw(), draw(), draw(), draw()
    result = round_trip({"n": sent}, {"n": one}, {"n": two}, {"n": three})["n"]
    exact = (one.astype(float) + two + three) / 3
    assert result.dtype == dtype
    assert np.abs(result.astype(float) - exact).max() <= 0.5 + 1e-9


def test_a_flag_takes_the_majority() -> None:
    sent = {"on": np.array([False, True, True])}
    flipped = {"on": np.array([True, False, True])}
    assert round_trip(sent, sent, sent, flipped)["on"].tolist() == [False, True, True]
    assert round_trip(sent, flipped, flipped, sent)["on"].tolist() == [True, False, True]
    assert round_trip(sent, sent)["on"].dtype == np.bool_


@pytest.mark.parametrize("array", [np.zeros(2, np.complex64), np.array(["a"]), np.array([None])])
def test_a_model_of_other_things_than_numbers_is_refused(array: Any) -> None:
    with pytest.raises(TypeError, match="array 'w' of the model is"):
        Layout({"w": array})


def test_half_precision_keeps_its_dtype() -> None:
    sent = {"w": np.ones(3, np.float16)}
    result = round_trip(sent, {"w": np.full(3, 2.0, np.float16)}, {"w": np.full(3, 4.0, np.float16)})
    assert result["w"].dtype == np.float16
    assert result["w"].tolist() == [3.0, 3.0, 3.0]


def test_the_median_counts_the_accepted_clients_only_and_each_once() -> None:
    side = np.array([[1.0], [2.0], [100.0], [3.0]])
    assert median_apart(side, np.array([0.2, 0.001, 0.0, 0.5])).tolist() == [2.0]
    assert median_apart(side, np.zeros(4)).tolist() == [0.0]


def test_the_matrix_is_used_again_and_grows() -> None:
    intake, sent = Intake(), {"w": np.zeros(2, np.float32)}
    layout = Layout(sent)
    seen = []
    for clients in (2, 5, 3):
        replies = [Reply(i, lambda i=i: {"w": np.full(2, i, np.float32)}, 1) for i in range(clients)]
        updates, _, dropped = intake.collect(replies, layout, Limits())
        assert not dropped
        assert updates.deltas[:, 0].tolist() == list(range(clients))
        seen.append(updates.deltas)
    assert np.shares_memory(seen[1], seen[2])
