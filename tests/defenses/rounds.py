"""Rounds for the tests of the defenses: made from a matrix, or drawn by hypothesis."""

from collections.abc import Sequence

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import ArrayLike

from fedsec.defenses import RoundUpdates
from fedsec.defenses.updates import Matrix, Vector

FAR = 1e4
"""How far away an obvious outlier is, in the units of the honest updates."""

brief = settings(max_examples=40)
"""For every property."""


def round_of(rows: ArrayLike, num_examples: Sequence[int] | None = None) -> RoundUpdates:
    """Return a round whose clients 0, 1, ... send a copy of ``rows`` (n, d)."""
    matrix = np.array(rows, np.float32)
    examples = [1] * len(matrix) if num_examples is None else num_examples
    return RoundUpdates(np.arange(len(matrix), dtype=np.uint64), matrix, np.array(examples, np.int64))


def reordered(updates: RoundUpdates, order: Sequence[int]) -> RoundUpdates:
    """Return the round in which client i sends what client ``order[i]`` sent."""
    return round_of(updates.deltas[list(order)], [int(updates.num_examples[i]) for i in order])


def normal_rows(n: int, d: int, *, seed: int = 0, centre: float = 0.0, spread: float = 1.0) -> Matrix:
    """Return (n, d) independent normal values."""
    return (centre + spread * np.random.default_rng(seed).standard_normal((n, d))).astype(np.float32)


def with_outlier(n: int = 10, d: int = 50) -> RoundUpdates:
    """Return a round in which all agree up to a tenth, except client 0, which is far away on the other side."""
    rows = normal_rows(n, d, centre=1.0, spread=0.1)
    rows[0] = -FAR
    return round_of(rows)


def slow_squared_distances(rows: ArrayLike) -> Vector:
    """Return |a - b|^2 for all pairs of rows, by explicit differences in float64."""
    wide = np.array(rows, np.float64)
    return np.array([[float(((a - b) ** 2).sum()) for b in wide] for a in wide])


def slow_cosine_distances(rows: ArrayLike) -> Vector:
    """Return 1 - cos(a, b) = |a/|a| - b/|b||^2 / 2 for all pairs of rows, none of them zero, in float64."""
    wide = np.array(rows, np.float64)
    return slow_squared_distances([row / np.sqrt((row**2).sum()) for row in wide]) / 2.0


def _squash(value: float) -> float:
    return value if abs(value) > 1e-3 else 0.0


@st.composite
def rounds(draw: st.DrawFn, clients: tuple[int, int] = (5, 9), parameters: tuple[int, int] = (1, 8)) -> RoundUpdates:
    """Draw a round value by value: with zeros, equal values and equal clients."""
    n, d = draw(st.integers(*clients)), draw(st.integers(*parameters))
    values = st.floats(-100.0, 100.0, width=32).map(_squash)
    examples = draw(st.lists(st.integers(1, 1000), min_size=n, max_size=n))
    return round_of(draw(arrays(np.float32, (n, d), elements=values)), examples)


@st.composite
def continuous_rounds(
    draw: st.DrawFn, clients: tuple[int, int] = (5, 9), parameters: tuple[int, int] = (2, 40)
) -> RoundUpdates:
    """Draw a round of normal values around a common centre: no two values, norms or distances are equal."""
    n, d = draw(st.integers(*clients)), draw(st.integers(*parameters))
    centre, spread = draw(st.sampled_from([0.0, 0.5, 3.0])), draw(st.sampled_from([1e-3, 1.0, 100.0]))
    rows = normal_rows(n, d, seed=draw(st.integers(0, 2**32 - 1)), centre=centre * spread, spread=spread)
    return round_of(rows, draw(st.lists(st.integers(1, 1000), min_size=n, max_size=n)))
