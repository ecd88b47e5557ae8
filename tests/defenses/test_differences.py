"""Long rows in float32: as exact as float64 where digits can be lost, whatever the clients send."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from fedsec.defenses import RoundUpdates, blocks, distances
from fedsec.defenses.differences import nearest_parents, products_of_differences, sample
from fedsec.defenses.distances import Geometry, geometry, row_norms
from fedsec.defenses.updates import Matrix, Vector
from tests.defenses.rounds import brief, normal_rows, rounds, slow_squared_distances

COMPILED, BLAS = "compiled", "blas"


@pytest.fixture(params=[COMPILED, BLAS])
def long(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let rows of any length count as long, with numba and without."""
    for module in (blocks, distances):
        monkeypatch.setattr(module, "LONG", 1)
    if request.param == BLAS:
        monkeypatch.setitem(sys.modules, "fedsec.defenses.compiled_products", None)
    else:
        pytest.importorskip("numba")
    return str(request.param)


def relative_error(found: Vector, exact: Vector) -> float:
    pairs = ~np.eye(len(exact), dtype=bool)
    return float(np.max(np.abs(found[pairs] / exact[pairs] - 1.0)))


def exact_geometry(rows: Matrix, vector: Vector | None = None) -> Geometry:
    wide = rows.astype(np.float64)
    along = np.zeros(len(rows)) if vector is None else wide @ vector
    gram = wide @ wide.T
    norms = np.sqrt(np.diag(gram))
    units = wide / np.where(norms > 0.0, norms, 1.0)[:, None]
    cosine_distances = 1.0 - units @ units.T
    np.fill_diagonal(cosine_distances, 0.0)
    return Geometry(np.diag(gram), distances.squared_distances(gram), cosine_distances, along)


def honest(spread: float, n: int = 9, d: int = 30_000) -> Matrix:
    """Return rows of a common direction, ``spread`` of its length apart."""
    return normal_rows(1, d, seed=7) + spread * normal_rows(n, d, seed=1)


def colluding(spread: float) -> Matrix:
    """Return honest rows, and four that are close to one another and far from the others, one of them huge."""
    rows = honest(spread)
    rows[:4] = -30.0 * rows[0] + 0.01 * rows[:4]
    rows[3] *= 1e4
    return rows


def sybils(spread: float) -> Matrix:
    """Return honest rows, three of which are nearly the same and two exactly, beside one of zeros."""
    rows = honest(spread)
    rows[1], rows[2], rows[3], rows[4] = rows[0] + 1e-4 * rows[1], rows[0] + 1e-4 * rows[2], rows[5], 0.0
    return rows


@pytest.mark.parametrize("make", [honest, colluding, sybils])
@pytest.mark.parametrize("spread", [1.0, 0.2, 0.01])
def test_distances_and_cosines_keep_their_digits(long: str, make: type, spread: float) -> None:
    rows = make(spread)
    found, exact = geometry(rows), exact_geometry(rows)
    apart = exact.squared_distances > 1e-6 * np.minimum.outer(exact.squared_norms, exact.squared_norms)
    assert_allclose(found.squared_distances[apart], exact.squared_distances[apart], rtol=1e-6)
    assert_allclose(found.cosine_distances, exact.cosine_distances, rtol=2e-5, atol=1e-9)
    assert_allclose(found.squared_norms, exact.squared_norms, rtol=1e-6)


@brief
@given(rounds(parameters=(1, 40)))
def test_small_rounds_match_the_definition(updates: RoundUpdates) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distances, "LONG", 1)
        found = geometry(updates.deltas, np.linspace(-1.0, 1.0, updates.deltas.shape[1]))
    largest = float(np.square(updates.deltas, dtype=np.float64).sum(axis=1).max())
    exact = slow_squared_distances(updates.deltas)
    assert_allclose(found.squared_distances, exact, rtol=1e-5, atol=1e-6 * largest)
    assert np.array_equal(found.squared_distances, found.squared_distances.T)
    assert np.array_equal(found.cosine_distances, found.cosine_distances.T)


def test_products_with_a_vector_come_from_the_same_pass(long: str) -> None:
    rows, vector = honest(0.1), normal_rows(1, 30_000, seed=4)[0].astype(np.float64)
    exact = exact_geometry(rows, vector).products
    assert_allclose(geometry(rows, vector).products, exact, atol=1e-7 * np.linalg.norm(vector) * 180)
    assert np.array_equal(geometry(rows).products, np.zeros(9))


@pytest.mark.parametrize("scale", [1e-30, 1e-22, 1e-10, 1e10, 1e20, 1e30])
def test_distances_hold_at_every_scale_of_float32(long: str, scale: float) -> None:
    rows = normal_rows(4, 5000) * np.float32(scale)
    found, exact = geometry(rows), exact_geometry(rows)
    assert_allclose(found.squared_distances, exact.squared_distances, rtol=1e-5)
    assert_allclose(found.cosine_distances, exact.cosine_distances, rtol=1e-5)
    assert_allclose(row_norms(rows) ** 2, exact.squared_norms, rtol=1e-5)


def test_one_row_beyond_float32_costs_the_others_nothing(long: str) -> None:
    rows, vector = normal_rows(5, 5000), normal_rows(1, 5000, seed=4)[0].astype(np.float64)
    rows[2] *= np.float32(1e30)
    found, exact = geometry(rows, vector), exact_geometry(rows, vector)
    assert_allclose(found.squared_distances, exact.squared_distances, rtol=1e-7)
    assert_allclose(found.cosine_distances, exact.cosine_distances, rtol=1e-7)
    assert_allclose(found.products, exact.products, rtol=1e-7)
    assert_allclose(row_norms(rows) ** 2, exact.squared_norms, rtol=1e-7)


def test_a_zero_vector_is_at_cosine_distance_one(long: str) -> None:
    rows = honest(0.1)
    rows[[2, 5]] = 0.0
    found = geometry(rows)
    assert np.all(found.cosine_distances[2, [0, 1, 3, 4, 5]] == 1.0)
    assert found.squared_distances[2, 5] == found.squared_norms[2] == 0.0


def test_equal_rows_are_at_distance_zero(long: str) -> None:
    rows = honest(0.3)
    rows[3] = rows[8] = rows[6]
    found = geometry(rows)
    assert np.all(found.squared_distances[np.ix_([3, 6, 8], [3, 6, 8])] == 0.0)


def test_an_attacker_who_knows_the_sample_makes_it_slow_and_not_wrong(long: str) -> None:
    rows = honest(0.01, d=200_000)
    columns = np.arange(200_000)
    seen = np.isin(columns, sample(columns[None, :].astype(np.float32))[0].astype(int))
    rows[0, ~seen] = 1e4 * normal_rows(1, int((~seen).sum()), seed=2)[0]
    rows[1, ~seen] = 0.0
    found, exact = geometry(rows), exact_geometry(rows)
    assert relative_error(found.squared_distances, exact.squared_distances) <= 1e-6
    assert_allclose(found.cosine_distances, exact.cosine_distances, rtol=1e-5, atol=1e-9)


def test_rows_that_lie_by_column_or_must_not_be_written_give_the_same(long: str) -> None:
    rows = honest(0.1)
    expected = geometry(rows).squared_distances
    rows.setflags(write=False)
    assert_allclose(geometry(np.asfortranarray(rows)).squared_distances, expected, rtol=1e-6)
    assert np.array_equal(geometry(rows).squared_distances, expected)


@pytest.mark.parametrize("n", [1, 4, 7])
def test_the_number_of_threads_changes_no_bit(long: str, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = normal_rows(n, 300_001)
    monkeypatch.setattr(blocks, "SMALL", 0)
    expected = geometry(rows)
    pool = blocks.ThreadPoolExecutor(1)
    monkeypatch.setattr(blocks, "_pool", lambda: pool)
    found = geometry(rows)
    assert np.array_equal(found.squared_distances, expected.squared_distances)
    assert np.array_equal(found.squared_norms, expected.squared_norms)


def test_rows_get_parents_only_where_that_makes_them_shorter() -> None:
    near, far = np.eye(6)[0], np.eye(6)[1]
    rows = np.array([near, near + 0.1 * np.eye(6)[2], near + 0.1 * np.eye(6)[3], 9.0 * far, np.zeros(6), far])
    assert nearest_parents(rows).tolist() == [-1, 0, 0, -1, -1, -1]


@given(st.integers(0, 10_000), st.integers(1, 12))
def test_siblings_are_well_apart_and_nobody_is_his_own_ancestor(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.choice([0.0, 1.0, 50.0], (n, 1)) * rng.standard_normal((1, 5)) + rng.choice([1e-3, 1.0]) * (
        rng.standard_normal((n, 5))
    )
    parents = nearest_parents(rows)
    differences = np.array([row - rows[p] if p >= 0 else row for row, p in zip(rows, parents, strict=True)])
    for i, parent in enumerate(parents):
        seen = {i}
        while parent >= 0:
            assert parent not in seen
            seen.add(parent)
            parent = parents[parent]
        for j in np.flatnonzero(parents == parents[i]):
            gap = ((differences[i] - differences[j]) ** 2).sum()
            assert i == j or gap >= 0.499 * (differences[i] ** 2).sum()


def test_without_parents_the_doubt_of_a_pair_is_both_squared_norms() -> None:
    products = products_of_differences(np.eye(3, dtype=np.float32), None)
    assert_allclose(products.gram, np.eye(3))
    assert_allclose(products.doubt, 2.0 - 2.0 * np.eye(3))
    assert_allclose(products.lengths, 1.0)


def test_the_difference_to_a_parent_is_all_that_a_pair_is_made_of() -> None:
    rows = np.array([[100.0, 0.0], [100.0, 1.0], [100.0, -1.0]], np.float32)
    products = products_of_differences(rows, np.array([1.0, 2.0]))
    assert_allclose(products.gram, [[10000, 10000, 10000], [10000, 10001, 9999], [10000, 9999, 10001]])
    assert_allclose(products.doubt, [[0, 1, 1], [1, 0, 2], [1, 2, 0]])
    assert_allclose(products.along, [100.0, 102.0, 98.0])
