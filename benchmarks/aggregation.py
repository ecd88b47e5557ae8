"""Our distances, mean and trimmed mean against Flower's own, and against the time it takes to read the matrix.

``python -m benchmarks.aggregation [--clients 40] [--parameters 11200000]``
"""

import argparse
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
from flwr.app import ArrayRecord
from flwr.server.strategy.aggregate import aggregate
from flwr.serverapp.strategy.fedtrimmedavg import trim_mean
from flwr.serverapp.strategy.multikrum import compute_distances
from numpy.typing import NDArray

from benchmarks.measuring import Timing, environment, print_rows, timed, with_malloc_settings
from fedsec.defenses import RoundUpdates
from fedsec.defenses.distances import pairwise_squared_distances
from fedsec.defenses.flame import flame
from fedsec.defenses.krum import krum
from fedsec.defenses.mean import mean
from fedsec.defenses.trimmed_mean import trim_by_distance, trimmed_mean

TRIM_SAMPLE = 8
"""Flower's trimmed mean is timed on one part in this many of the parameters, and scaled: it is linear in them."""


@dataclass(frozen=True, slots=True)
class Record:
    """A stand-in for Flower's ArrayRecord whose arrays need no decoding, so that only the arithmetic is timed."""

    row: NDArray[np.float32]

    def to_numpy_ndarrays(self) -> list[NDArray[np.float32]]:
        """Return the arrays."""
        return [self.row]


def main() -> None:
    """Measure and print."""
    with_malloc_settings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=40)
    parser.add_argument("--parameters", type=int, default=11_200_000)
    options = parser.parse_args()
    n, d = options.clients, options.parameters
    updates = draw(n, d)
    rows = updates.deltas
    size = n * d * 4 / 2**20

    ours = {
        "read the matrix": timed(lambda: rows.sum()),
        "mean": timed(lambda: mean(updates)),
        "squared distances": timed(lambda: pairwise_squared_distances(rows)),
        "Krum": timed(lambda: krum(updates, (n - 3) // 2)),
        "trimmed mean, 20 %": timed(lambda: trimmed_mean(updates, 0.2)),
        "trimming by distance": timed(lambda: trim_by_distance(updates, 0.5)),
        "FLAME": timed(lambda: flame(updates, np.random.default_rng(0))),
    }
    records = cast(list[ArrayRecord], [Record(row) for row in rows])
    part = max(1, d // TRIM_SAMPLE)
    peers = {
        "mean": timed(lambda: aggregate([([row], 1) for row in rows]), 3),
        "squared distances": timed(lambda: compute_distances(records), 3),
        "trimmed mean, 20 %": timed(lambda: trim_mean(rows[:, :part], 0.2), 3).scaled(d / part),
    }
    print(f"\nn = {n}, d = {d:,} ({size:,.0f} MiB); {environment()}; medians of five after one, peers of three\n")
    print_rows(table(ours, peers, size))
    print("\nmemory: the peak of one rule alone above the matrix, in percent of the matrix\n")
    apart = Distances("half alike", ours["squared distances"], peers["squared distances"], *errors(rows))
    turn_parallel(rows)
    parallel = Distances(
        "nearly parallel",
        timed(lambda: pairwise_squared_distances(rows)),
        timed(lambda: compute_distances(records), 3),
        *errors(rows),
    )
    print_rows([Distances.HEAD, apart.row(), parallel.row()])
    goals(ours, peers, max(apart.error, parallel.error), size)


@dataclass(frozen=True, slots=True)
class Distances:
    """Squared distances of one kind of updates: times and largest relative errors, ours and Flower's."""

    HEAD: ClassVar = ("squared distances of updates", "ours", "Flower", "Flower / ours", "error, ours", "error, Flower")

    updates: str
    ours: Timing
    peer: Timing
    error: float
    peer_error: float

    def row(self) -> tuple[str, ...]:
        """Return the row of the table."""
        ratio = self.peer.median / self.ours.median
        errors = (f"{self.error:.1e}", f"{self.peer_error:.1e}")
        return (self.updates, str(self.ours), f"{self.peer.median:.3f} s", f"{ratio:.1f}", *errors)


def draw(n: int, d: int) -> RoundUpdates:
    """Return updates that share a direction, as those of honest clients do; their cosines are a half."""
    rng = np.random.default_rng(0)
    rows = np.empty((n, d), np.float32)
    common = rng.standard_normal(d, dtype=np.float32)
    for row in rows:
        row[:] = rng.standard_normal(d, dtype=np.float32) + common
    return RoundUpdates(np.arange(n, dtype=np.uint64), rows, np.ones(n, np.int64))


def turn_parallel(rows: NDArray[np.float32]) -> None:
    """Turn the rows in place until their cosines are above 0.95, as late in a training.

    Float32 would lose the digits of such distances, so all of them are done again in float64.
    """
    common = 6.0 * np.random.default_rng(1).standard_normal(rows.shape[1], dtype=np.float32)
    for row in rows:
        row += common


def table(ours: dict[str, Timing], peers: dict[str, Timing], size: float) -> list[tuple[str, ...]]:
    """Return the rows of the table of times and memory."""
    read = ours["read the matrix"].median
    rows: list[tuple[str, ...]] = [
        ("rule", "ours", "times the read", "memory", "Flower", "memory, Flower", "Flower / ours")
    ]
    for name, timing in ours.items():
        peer = peers.get(name)
        rows.append(
            (
                name,
                str(timing),
                f"{timing.median / read:.1f}",
                share(timing, size),
                "" if peer is None else f"{peer.median:.2f} s",
                "" if peer is None else share(peer, size),
                "" if peer is None else f"{peer.median / timing.median:.1f}",
            )
        )
    return rows


def share(timing: Timing, size: float) -> str:
    """Return the memory that a rule added, in percent of the matrix of ``size`` MiB."""
    return "not measured" if timing.added_mib is None else f"{100 * timing.added_mib / size:.1f} %"


def goals(ours: dict[str, Timing], peers: dict[str, Timing], error: float, size: float) -> None:
    """Print each goal with what was measured."""
    ratios = {name: peer.median / ours[name].median for name, peer in peers.items()}
    added = [timing.added_mib for timing in ours.values() if timing.added_mib is not None]
    memory = (f"{100 * max(added) / size:.1f} %", "yes" if max(added) / size < 0.5 else "no") if added else ("", "")
    print()
    print_rows(
        [
            ("goal", "measured", "reached"),
            ("squared distances, half alike, >= 4 x Flower", *verdict(ratios["squared distances"], 4.0)),
            ("trimmed mean >= 9 x Flower", *verdict(ratios["trimmed mean, 20 %"], 9.0)),
            ("error of squared distances <= 1e-7", f"{error:.1e}", "yes" if error <= 1e-7 else "no"),
            ("no second copy of the matrix", *memory),
        ]
    )


def verdict(ratio: float, goal: float) -> tuple[str, str]:
    """Return a measured ratio and whether it reaches its goal."""
    return f"{ratio:.1f} x", "yes" if ratio >= goal else "no"


def exact_distances(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return squared distances by explicit differences in float64."""
    n, d = rows.shape
    exact = np.zeros((n, n))
    for start in range(0, d, 1 << 18):
        block = rows[:, start : start + (1 << 18)].astype(np.float64)
        for i in range(n):
            difference = block[i:] - block[i]
            exact[i, i:] += np.einsum("ij,ij->i", difference, difference)
    return exact + exact.T


def errors(rows: NDArray[np.float32]) -> tuple[float, float]:
    """Return the largest relative error of the squared distances, ours and Flower's."""
    exact, records = exact_distances(rows), cast(list[ArrayRecord], [Record(row) for row in rows])
    found: list[Any] = [pairwise_squared_distances(rows), compute_distances(records)]
    off = ~np.eye(len(exact), dtype=bool)
    ours, peer = (float((np.abs(of - exact)[off] / exact[off]).max()) for of in found)
    return ours, peer


if __name__ == "__main__":
    main()
