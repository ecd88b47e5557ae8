"""Which images are the server's own: evenly of each class, by the draws alone."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedsec.data.public import public_indices

labels_and_number = st.tuples(st.lists(st.integers(0, 4), min_size=1, max_size=60).map(np.array), st.integers(0, 80))


def chosen(labels: np.ndarray, number: int, seed: int = 0) -> np.ndarray:
    return public_indices(labels, number, np.random.default_rng(seed))


@given(labels_and_number)
def test_so_many_different_examples_are_public_in_ascending_order(drawn: tuple[np.ndarray, int]) -> None:
    labels, number = drawn
    found = chosen(labels, number)
    assert len(found) == min(number, len(labels))
    assert (np.diff(found) > 0).all()
    assert np.isin(found, np.arange(len(labels))).all()


@given(labels_and_number)
def test_classes_are_even_unless_one_has_no_more(drawn: tuple[np.ndarray, int]) -> None:
    labels, number = drawn
    there = np.bincount(labels, minlength=5)
    taken = np.bincount(labels[chosen(labels, number)], minlength=5)
    for label in range(5):
        if taken[label] < there[label]:
            assert taken[label] >= taken.max() - 1


@given(labels_and_number, st.integers(1, 10))
def test_more_public_data_hold_those_of_fewer(drawn: tuple[np.ndarray, int], more: int) -> None:
    labels, number = drawn
    assert set(chosen(labels, number)) <= set(chosen(labels, number + more))


def test_the_draws_decide() -> None:
    labels = np.arange(100) % 5
    assert np.array_equal(chosen(labels, 20), chosen(labels, 20))
    assert not np.array_equal(chosen(labels, 20), chosen(labels, 20, seed=1))


def test_a_small_class_gives_all_it_has_by_hand() -> None:
    labels = np.array([0] * 10 + [1] * 2 + [2] * 10)
    assert np.bincount(labels[chosen(labels, 12)]).tolist() == [5, 2, 5]
    assert chosen(labels, 0).tolist() == []
