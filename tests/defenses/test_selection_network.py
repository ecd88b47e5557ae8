"""Selection networks: they select whatever the input, and nothing is lost when comparators are left out or grouped."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from fedsec.defenses.selection_network import MOST_WIRES, PATTERNS, Network, selection_network
from tests.defenses.rounds import brief


def selected(network: Network, columns: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return what the network puts on the wanted wires, sorted; ``columns`` is (size, any)."""
    wires = list(columns)
    for low, high in network.comparators():
        wires[low], wires[high] = np.minimum(wires[low], wires[high]), np.maximum(wires[low], wires[high])
    return np.sort(np.array(wires)[network.first : network.stop], axis=0)


def every_range(size: int) -> list[tuple[int, int]]:
    return [(first, stop) for first in range(size) for stop in range(first + 1, size + 1)]


@pytest.mark.parametrize("size", range(1, 11))
def test_every_range_of_ranks_is_right_for_all_zeros_and_ones_and_so_for_everything(size: int) -> None:
    # The zero-one principle, Knuth, The Art of Computer Programming, volume 3, 5.3.4.
    columns = np.array(list(itertools.product([0, 1], repeat=size))).T
    for first, stop in every_range(size):
        found = selected(selection_network(size, first, stop), columns)
        assert_array_equal(found, np.sort(columns, axis=0)[first:stop])


@brief
@given(st.integers(11, 150), st.data())
def test_wide_networks_select_random_values(size: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, size - 1))
    stop = data.draw(st.integers(first + 1, size))
    columns = np.random.default_rng(size).standard_normal((size, 50))
    found = selected(selection_network(size, first, stop), columns)
    assert_array_equal(found, np.sort(columns, axis=0)[first:stop])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 40])
def test_nothing_is_compared_where_all_values_are_wanted(size: int) -> None:
    assert selection_network(size, 0, size).groups == ()


@pytest.mark.parametrize(
    ("size", "first", "stop", "comparators"), [(3, 1, 2, 3), (40, 8, 32, 236), (40, 19, 21, 208), (100, 20, 80, 879)]
)
def test_as_many_comparators_are_left_as_documented(size: int, first: int, stop: int, comparators: int) -> None:
    network = selection_network(size, first, stop)
    assert len(list(network.comparators())) == comparators
    assert len(network.groups) <= comparators


def test_patterns_have_no_more_wires_than_there_is_room_for() -> None:
    assert max(max(pair) for pattern in PATTERNS for pair in pattern) == MOST_WIRES - 1
    for pattern in PATTERNS:
        assert len({wire for pair in pattern for wire in pair}) == 1 + max(max(pair) for pair in pattern)


def test_the_pattern_of_one_comparator_is_the_last_so_that_something_always_fits() -> None:
    assert PATTERNS[-1] == ((0, 1),)
