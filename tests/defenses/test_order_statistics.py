"""The mean of the values in the middle: compiled, by rows or sorted, the numbers are the same."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from fedsec.defenses import blocks
from fedsec.defenses import order_statistics as module
from fedsec.defenses.order_statistics import middle_mean, share_between
from fedsec.defenses.selection_network import PATTERNS, selection_network
from fedsec.defenses.updates import Matrix, Vector
from tests.defenses.rounds import brief, normal_rows

Found = tuple[Vector, Vector]


@pytest.fixture(params=["compiled", "by rows", "sorted"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Send even the smallest matrix one way."""
    monkeypatch.setattr(blocks, "SMALL", 0)
    if request.param != "compiled":
        monkeypatch.setattr(module, "_compiled", lambda: None)
        monkeypatch.setattr(module, "FEW_CLIENTS", 1000 if request.param == "by rows" else 0)
    else:
        assert module._compiled() is not None
    return str(request.param)


def slow(rows: Matrix, first: int, stop: int) -> Found:
    """Return the means in float64, and the shares."""
    chosen = np.sort(rows, axis=0)[first:stop]
    inside = (rows >= chosen[0]) & (rows <= chosen[-1])
    return chosen.mean(axis=0, dtype=np.float64), inside.mean(axis=1)


def assert_agrees(rows: Matrix, first: int, stop: int) -> None:
    means, shares = slow(rows, first, stop)
    found, found_shares = middle_mean(rows, first, stop)
    assert_allclose(found, means, rtol=1e-7, atol=1e-12)
    assert_allclose(found_shares, shares, rtol=1e-12)
    assert_allclose(share_between(rows, first, stop), shares, rtol=1e-12)


@pytest.mark.parametrize("d", [1, 15, 63, 64, 65, 1000, 8192, 8193, 40_000])
@pytest.mark.parametrize(("n", "first", "stop"), [(1, 0, 1), (2, 0, 2), (5, 1, 4), (40, 8, 32), (101, 50, 51)])
def test_every_way_gives_the_mean_of_the_middle(way: str, n: int, first: int, stop: int, d: int) -> None:
    assert_agrees(normal_rows(n, d), first, stop)


def test_the_network_gives_the_same_bits_compiled_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = normal_rows(20, 3000) * np.float32(10.0) ** np.random.default_rng(0).integers(-15, 15, 3000)
    rows = np.ascontiguousarray(rows, np.float32)
    by_rows = middle_mean(rows, 4, 16)
    monkeypatch.setattr(blocks, "SMALL", 0)
    compiled = middle_mean(rows, 4, 16)
    assert_array_equal(by_rows[0], compiled[0])
    assert_array_equal(by_rows[1], compiled[1])


@brief
@given(st.integers(1, 70), st.integers(1, 300), st.data())
def test_compiled_code_agrees_for_any_shape_and_with_equal_values(n: int, d: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, n - 1))
    stop = data.draw(st.integers(first + 1, n))
    rows = np.round(normal_rows(n, d, seed=n + d), data.draw(st.integers(0, 3)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "SMALL", 0)
        assert_agrees(rows, first, stop)


@pytest.mark.parametrize(
    "arrange",
    [
        np.asfortranarray,
        lambda rows: np.repeat(rows, 2, axis=1)[:, ::2],
        lambda rows: np.hstack([rows, rows])[:, 3 : 3 + rows.shape[1]],
        lambda rows: np.repeat(rows, 2, axis=0)[::2],
        lambda rows: rows[::-1],
    ],
    ids=["by column", "every second column", "part of wider rows", "every second row", "backwards"],
)
def test_it_does_not_matter_how_the_matrix_lies_in_memory(way: str, arrange: object) -> None:
    assert callable(arrange)
    rows = arrange(normal_rows(9, 500))
    before = rows.copy()
    assert_agrees(rows, 2, 7)
    assert_array_equal(rows, before)


def test_a_matrix_that_may_not_be_written_is_read(way: str) -> None:
    rows = normal_rows(7, 200)
    rows.setflags(write=False)
    assert_agrees(rows, 1, 6)


def test_more_clients_than_a_network_is_made_for_are_sorted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "SMALL", 0)
    monkeypatch.setattr(module, "MOST_CLIENTS", 4)
    monkeypatch.setattr(module, "FEW_CLIENTS", 0)
    monkeypatch.setattr(module, "selection_network", None)
    assert_agrees(normal_rows(5, 300), 1, 4)


def test_the_largest_values_are_no_trouble(way: str) -> None:
    rows = normal_rows(9, 100)
    rows[:3], rows[3:5] = 3e38, -3e38
    assert_agrees(rows, 5, 6)


@pytest.mark.parametrize("spoilt", ["numba", "llvmlite", "fedsec.defenses.compiled_selection"])
def test_where_numba_fails_numpy_does_it(spoilt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = normal_rows(9, 500)
    monkeypatch.setattr(blocks, "SMALL", 0)
    monkeypatch.delitem(sys.modules, "fedsec.defenses.compiled_selection", raising=False)
    monkeypatch.setitem(sys.modules, spoilt, None)
    monkeypatch.setattr(module, "_compiled", module._compiled.__wrapped__)
    assert module._compiled() is None
    assert_agrees(rows, 2, 7)


def test_compiled_code_that_is_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    from fedsec.defenses import compiled_selection

    assert module._compiled.__wrapped__() is not None
    monkeypatch.setattr(compiled_selection, "compiled_worker", lambda rows, network: lambda *given: None)
    assert module._compiled.__wrapped__() is None


def test_the_code_is_tried_on_every_pattern() -> None:
    assert {group.pattern for group in selection_network(*module.SIZE_WITH_EVERY_PATTERN).groups} == set(
        range(len(PATTERNS))
    )


def test_a_folder_that_cannot_be_written_only_means_compiling_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from fedsec.defenses import compiled_selection

    asked = []
    genuine = compiled_selection.njit

    def njit(*signature: object, cache: bool = False, **options: object) -> object:
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function '_select': no locator available for file")
        return genuine(*signature, **options)

    monkeypatch.setattr(compiled_selection, "njit", njit)
    assert compiled_selection._machine_code() is not None
    assert asked == [True, False]


def test_a_small_matrix_does_not_load_numba() -> None:
    code = (
        "import sys, numpy as np; from fedsec.defenses.order_statistics import middle_mean; "
        "middle_mean(np.ones((10, 1000), np.float32), 2, 8); assert 'numba' not in sys.modules"
    )
    folder = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
