"""Walking over columns: every column once, in order, here or on the other threads."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from fedsec.defenses import blocks
from fedsec.defenses.blocks import map_blocks, meanwhile, sum_blocks
from tests.defenses.rounds import brief


def blas_threads() -> list[int]:
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@brief
@given(st.integers(1, 50), st.integers(1, 60), st.booleans())
def test_every_column_is_in_one_block_and_the_answers_keep_their_order(columns: int, width: int, threads: bool) -> None:
    rows = blocks.SMALL // columns + 1 if threads else 1
    seen = map_blocks(lambda block: list(range(columns))[block], (rows, columns), width)
    assert [column for block in seen for column in block] == list(range(columns))
    assert all(len(block) == width for block in seen[:-1])
    assert 1 <= len(seen[-1]) <= width


@brief
@given(st.integers(0, 50), st.integers(1, 60), st.booleans())
def test_sums_over_blocks_count_every_column_once(columns: int, width: int, threads: bool) -> None:
    values = np.arange(float(columns))
    rows = blocks.SMALL // max(columns, 1) + 1 if threads else 1
    total = sum_blocks(lambda block: np.array([values[block].sum(), len(values[block])]), (rows, columns), width)
    assert total.tolist() == [values.sum(), columns]


def test_a_sum_leaves_what_it_adds_up_alone() -> None:
    same = np.ones(3)
    assert sum_blocks(lambda _: same, (1, 4), 1).tolist() == [4.0, 4.0, 4.0]
    assert same.tolist() == [1.0, 1.0, 1.0]


def test_ten_columns_in_blocks_of_four_end_with_a_block_of_two() -> None:
    assert map_blocks(lambda block: (block.start, block.stop), (1, 10), 4) == [(0, 4), (4, 8), (8, 10)]


def test_a_small_matrix_stays_in_this_thread() -> None:
    idents = map_blocks(lambda _: threading.get_ident(), (1, blocks.SMALL - 1), 1 << 20)
    assert set(idents) == {threading.get_ident()}


def test_a_large_matrix_goes_to_the_other_threads() -> None:
    idents = map_blocks(lambda _: threading.get_ident(), (1, blocks.SMALL), 1 << 20)
    assert threading.get_ident() not in idents


@pytest.mark.parametrize("columns", [10, blocks.SMALL])
def test_blas_is_held_to_one_thread_and_let_go_again(columns: int) -> None:
    np.ones((2, 2)) @ np.ones((2, 2))
    with threadpool_limits(2, "blas"):
        before = blas_threads()
        inside = map_blocks(lambda _: blas_threads(), (1, columns), columns)[0]
        assert set(inside) <= {1}
        assert blas_threads() == before


@pytest.mark.parametrize(("columns", "here"), [(blocks.LONG - 1, True), (blocks.LONG, False)])
def test_only_long_work_is_given_to_another_thread_meanwhile(columns: int, here: bool) -> None:
    answer = meanwhile(threading.get_ident, columns)
    assert (answer() == threading.get_ident()) == here


@pytest.mark.parametrize("columns", [1, blocks.LONG])
def test_an_error_meanwhile_reaches_who_asks_for_the_answer(columns: int) -> None:
    answer = meanwhile(lambda: 1 // 0, columns)
    with pytest.raises(ZeroDivisionError):
        answer()


@pytest.mark.parametrize("rows", [1, blocks.SMALL])
def test_an_error_in_a_block_reaches_the_caller(rows: int) -> None:
    with pytest.raises(ZeroDivisionError):
        map_blocks(lambda block: 1 // block.start, (rows, 10), 5)
