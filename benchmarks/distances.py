"""Squared distances between all updates: against Flower's, PyTorch's, and the rate of matrix products."""

import os

import numpy as np
from numpy.typing import NDArray

from benchmarks import peers
from benchmarks.limits import multiplier
from benchmarks.matrices import exact_distances, relative_error, turn_parallel
from benchmarks.measuring import Timing, in_turn, timed
from benchmarks.sections import Goal, Section, compared
from fedsec.defenses import RoundUpdates
from fedsec.defenses.distances import pairwise_squared_distances

OURS, FLOOR = "squared distances", "products of square matrices, scaled"
SERVERAPP, LEGACY = "Flower serverapp MultiKrum", "Flower legacy Krum loop, scaled"
CDIST = "torch.cdist"

CHECKED = 16
"""Rows whose distances are compared with explicit differences in float64."""

MOST = 40
"""Of more clients only Flower's legacy loop is timed: the others take long, and twice the memory of the matrix."""

FASTER_THAN_SERVERAPP = {40: 5.0}
FASTER_THAN_LEGACY = {100: 40.0}
FASTER_THAN_CDIST = {40: 15.0}
"""By number of clients."""


def measure(updates: RoundUpdates, kind: str = "half alike") -> Section:
    """Time the distances of a round, and compare them with exact ones."""
    rows = updates.deltas
    n, d = rows.shape
    multiply, operations = multiplier()
    times = in_turn({OURS: lambda: pairwise_squared_distances(rows), FLOOR: multiply})
    notes = {FLOOR: f"2 n n d operations at {operations / times[FLOOR].median / 1e9:.0f} GFLOP/s"}
    times[FLOOR] = times[FLOOR].scaled(2.0 * n * n * d / operations)
    ours, floor = times[OURS].median, times[FLOOR].median
    goals = [Goal(f"distances, n = {n}, {kind}: ours / full matrix product", ours / floor, 1.25)]
    exact = exact_distances(rows[:CHECKED])
    error = relative_error(pairwise_squared_distances(rows[:CHECKED]), exact)
    goals.append(Goal(f"distances, n = {n}, {kind}: relative error", error, 1e-7, unit=""))
    notes[OURS] = f"largest relative error {error:.1e}"
    others = peers_of(rows, exact, notes)
    for name, faster in (
        (SERVERAPP, FASTER_THAN_SERVERAPP),
        (LEGACY, FASTER_THAN_LEGACY),
        (CDIST, FASTER_THAN_CDIST),
    ):
        if name in others and n in faster:
            measured = others[name].median / ours
            goals.append(Goal(f"distances, n = {n}, {kind}: {name} / ours", measured, faster[n], at_least=True))
    table = compared(times | others, OURS, notes=notes)
    return Section(f"Squared distances, {kind}, n = {n}, d = {d:,}", times | others, table, goals)


def measure_parallel(updates: RoundUpdates) -> Section:
    """Turn the updates nearly parallel, and time their distances."""
    turn_parallel(updates.deltas)
    return measure(updates, "nearly parallel")


def peers_of(rows: NDArray[np.float32], exact: NDArray[np.float64], notes: dict[str, str]) -> dict[str, Timing]:
    """Time the others, and note how far off they are."""
    times = {}
    if len(rows) <= MOST and 3 * rows.nbytes < free_memory():  # two of them need two more matrices
        times[SERVERAPP] = timed(lambda: peers.serverapp_distances(rows), 3)
        error = relative_error(peers.serverapp_distances(rows[:CHECKED]), exact)
        notes[SERVERAPP] = f"largest relative error {error:.1e}"
        times[CDIST] = timed(lambda: peers.torch_distances(rows), 2)
        notes[CDIST] = "what byzfl's Krum uses"
    times[LEGACY] = peers.legacy_distances(rows, 3)
    notes[LEGACY] = f"timed on {peers.LOOP_ROWS} of {len(rows)} rows"
    return times


def free_memory() -> int:
    """Return how many bytes are free."""
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
