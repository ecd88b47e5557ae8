"""When the attack that rebuilds a class begins, whose class it can be, and how its images are labelled."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsec.attacks.reconstruction import begins, extra_class, first_round, lured, misled, no_victim


def test_the_generator_is_lured_to_the_victim_and_its_images_are_called_the_extra_class() -> None:
    np.testing.assert_array_equal(lured(3, 7), [7, 7, 7])
    np.testing.assert_array_equal(misled(2, 10), [10, 10])
    assert extra_class(10) == 10
    assert lured(0, 7).dtype == misled(4, 10).dtype == np.int64


def test_it_begins_with_the_accuracy_and_not_before() -> None:
    assert begins(0.9, 0.9)
    assert not begins(0.8999, 0.9)


def test_a_round_s_clients_are_sent_the_model_of_the_round_before() -> None:
    measured = {0: 0.1, 1: 0.5, 2: 0.92, 3: 0.4, 4: 0.95}
    assert first_round(measured, range(1, 11), 0.9) == 3
    assert first_round(measured, range(4, 11), 0.9) == 5
    assert first_round(measured, range(1, 11), 0.96) is None
    assert first_round({}, range(1, 11), 0.1) is None


@given(st.dictionaries(st.integers(0, 20), st.floats(0, 1)), st.floats(0.1, 1), st.integers(1, 9))
def test_the_first_round_is_the_first_of_a_slow_search(measured: dict[int, float], start: float, first: int) -> None:
    found = None
    for server_round in range(first, 15):
        if found is None and server_round - 1 in measured and measured[server_round - 1] >= start:
            found = server_round
    assert first_round(measured, range(first, 15), start) == found


@given(st.dictionaries(st.integers(0, 20), st.floats(0, 1)), st.floats(0.1, 0.9))
def test_a_higher_start_accuracy_is_never_earlier(measured: dict[int, float], start: float) -> None:
    early, late = (first_round(measured, range(1, 22), s) for s in (start, start + 0.1))
    assert late is None or (early is not None and early <= late)


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ({0: [5, 0], 1: [0, 4], 2: [0, 0]}, ""),
        ({0: [5, 0], 1: [0, 4], 2: [0, 1]}, "class 1 is also held by the adversary, client 2"),
        ({0: [5, 0], 1: [5, 0], 2: [0, 1]}, "class 1 is also held by the adversary, client 2"),
        ({0: [5, 0], 1: [5, 0], 2: [0, 0]}, "class 1 is held by no client"),
        ({0: [5], 2: []}, "class 1 is held by no client"),
    ],
)
def test_a_victim_is_a_class_that_only_others_hold(held: dict[int, list[int]], expected: str) -> None:
    found = no_victim(1, held, adversary=2)
    assert found.startswith(expected)
    assert bool(found) == bool(expected)
