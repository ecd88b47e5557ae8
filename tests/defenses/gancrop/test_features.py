"""What is read of an update: its shape, whoever sends it, however its classes are numbered, however long it is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from fedsec.defenses.gancrop.features import ROWS, SMALLEST, read_updates
from fedsec.defenses.updates import Matrix

SHAPES = {"conv": (8, 3, 5, 5), "dense": (10, 48), "bias": (10,), "few": (4,)}
"""Arrays of a network of ten classes; the last one is too small to be read."""


def places(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[slice, tuple[int, ...]]]:
    found, start = {}, 0
    for name, shape in shapes.items():
        stop = start + int(np.prod(shape))
        found[name], start = (slice(start, stop), shape), stop
    return found


PLACES = places(SHAPES)
WIDTH = max(part.stop for part, _ in PLACES.values())


def updates(seed: int = 0, clients: int = 6) -> Matrix:
    rng = np.random.default_rng(seed)
    return (0.01 * rng.standard_t(4, (clients, WIDTH))).astype(np.float32)


def slow_tails(values: np.ndarray) -> list[float]:
    """Return log kurtosis, log of the largest deviation, and the cube root of the skewness of one row."""
    deviations = [float(value) - float(np.mean(values, dtype=np.float64)) for value in values]
    variance = sum(d**2 for d in deviations) / len(deviations)
    fourth = sum(d**4 for d in deviations) / len(deviations)
    third = sum(d**3 for d in deviations) / len(deviations)
    return [
        np.log(fourth / variance**2),
        np.log(max(abs(d) for d in deviations) / variance**0.5),
        np.cbrt(third / variance**1.5),
    ]


def test_tails_match_the_definition() -> None:
    deltas = updates()
    read = read_updates(deltas, {"bias": PLACES["bias"]})
    part = PLACES["bias"][0]
    for row, values in zip(read, deltas.astype(np.float64), strict=True):
        assert row[0] == pytest.approx(np.log(np.linalg.norm(values)))
        assert row[1] == pytest.approx(np.log(np.linalg.norm(values[part]) / np.linalg.norm(values)))
        assert_allclose(row[2:], slow_tails(values[part]), rtol=1e-6)


def test_peaks_of_a_dense_layer_by_hand() -> None:
    weights = np.ones((3, 8))
    weights[1] *= 4.0  # norms of the rows: sqrt(8) times 1, 4, 1; of the columns: all sqrt(18)
    read = read_updates(weights.reshape(1, -1).astype(np.float32), {"dense": (slice(0, 24), (3, 8))})[0]
    outgoing, incoming = read[5:8], read[8:11]
    assert_allclose(outgoing, [np.log(4.0), np.log(4.0), np.log(np.sqrt(2.0) / 2.0)], rtol=1e-6)
    assert_allclose(incoming[:2], [0.0, 0.0], atol=1e-6)


@settings(max_examples=20)
@given(st.permutations(range(6)), st.integers(0, 99))
def test_features_follow_the_clients(order: list[int], seed: int) -> None:
    deltas = updates(seed)
    assert_allclose(read_updates(deltas[order], PLACES), read_updates(deltas, PLACES)[order], rtol=1e-9)


@settings(max_examples=20)
@given(st.permutations(range(10)), st.integers(0, 99))
def test_features_do_not_depend_on_how_classes_are_numbered(order: list[int], seed: int) -> None:
    deltas = updates(seed)
    renumbered = deltas.copy()
    for name in ("dense", "bias"):
        part, shape = PLACES[name]
        renumbered[:, part] = deltas[:, part].reshape(-1, *shape)[:, order].reshape(len(deltas), -1)
    assert_allclose(read_updates(renumbered, PLACES), read_updates(deltas, PLACES), rtol=1e-6, atol=1e-8)


@settings(max_examples=20)
@given(st.floats(1e-3, 1e3), st.integers(0, 99))
def test_only_the_norm_depends_on_the_length_of_an_update(scale: float, seed: int) -> None:
    deltas = updates(seed).astype(np.float64)
    before, after = read_updates(deltas, PLACES), read_updates(scale * deltas, PLACES)  # type: ignore[arg-type]
    assert_allclose(after[:, 1:], before[:, 1:], rtol=1e-6, atol=1e-8)
    assert_allclose(after[:, 0], before[:, 0] + np.log(scale), rtol=1e-9, atol=1e-9)


def test_updates_are_read_alike_however_many_there_are() -> None:
    deltas = np.random.default_rng(0).normal(size=(2 * ROWS + 3, WIDTH)).astype(np.float32)
    alone = np.concatenate([read_updates(deltas[row : row + 1], PLACES) for row in range(len(deltas))])
    assert_allclose(read_updates(deltas, PLACES), alone, rtol=1e-12)
    assert read_updates(deltas[:0], PLACES).shape == (0, alone.shape[1])


def test_few_values_are_not_read_and_the_number_of_features_is_the_network_s() -> None:
    assert np.prod(SHAPES["few"]) < SMALLEST
    without = {name: place for name, place in PLACES.items() if name != "few"}
    assert_allclose(read_updates(updates(), PLACES), read_updates(updates(), without))
    assert read_updates(updates(clients=1), PLACES).shape[1] == read_updates(updates(clients=4), PLACES).shape[1]


def test_updates_are_left_as_they_were_and_one_that_did_not_move_is_read_as_finite() -> None:
    deltas = updates()
    deltas[2] = 0.0
    before = deltas.copy()
    assert np.isfinite(read_updates(deltas, PLACES)).all()
    assert np.array_equal(deltas, before)


def test_a_few_weights_that_change_much_have_a_heavy_tail() -> None:
    deltas = updates()
    part = PLACES["dense"][0]
    deltas[3, part.start : part.start + 3] = 1.0
    read = read_updates(deltas, {"dense": PLACES["dense"]})
    kurtosis, largest = read[:, 2], read[:, 3]
    assert kurtosis.argmax() == largest.argmax() == 3


def test_a_layer_of_one_unit_is_read_without_comparing_units() -> None:
    shapes = {"token": (1, 16), "filter": (1, 3, 3, 3)}
    width = 16 + 27
    read = read_updates(np.random.default_rng(0).normal(size=(3, width)).astype(np.float32), places(shapes))
    assert np.isfinite(read).all()
    assert len(read) == 3
