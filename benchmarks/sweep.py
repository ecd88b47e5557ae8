"""What the rules cost against the number of clients and of parameters, ours and Flower's.

``python -m benchmarks.sweep --out FOLDER [--clients 10 20 40 70 100] [--parameters 61706 ...]``

The number of clients changes at the most parameters, and that of parameters at forty clients. ``benchmarks.figures``
draws what is found.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.matrices import Matrix, draw
from benchmarks.measuring import environment, in_turn, with_malloc_settings
from fedsec.defenses import RoundUpdates
from fedsec.defenses.distances import pairwise_squared_distances
from fedsec.defenses.flame import flame
from fedsec.defenses.mean import mean
from fedsec.defenses.median import coordinate_median
from fedsec.defenses.trimmed_mean import trimmed_mean

AT_CLIENTS = 40
REPETITIONS = 3

PART = 1 << 18
"""Flower is timed on at most so many parameters, and scaled: its rules are linear in them, if not worse."""

PEERS: dict[str, Callable[[Matrix], object]] = {
    "mean": peers.legacy_mean,
    "squared distances": peers.serverapp_distances,
    "trimmed mean": lambda rows: peers.serverapp_trimmed_mean(rows, 0.2),
    "median": peers.serverapp_median,
}


def main() -> None:
    """Measure, and write the times."""
    with_malloc_settings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=[10, 20, 40, 70, 100])
    parser.add_argument(
        "--parameters", type=int, nargs="+", default=[61_706, 250_000, 1_048_576, 4_000_000, 11_200_000]
    )
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    points = list(measured(options.clients, options.parameters))
    options.out.mkdir(parents=True, exist_ok=True)
    results = {"environment": environment(), "points": points}
    (options.out / "sweep.json").write_text(json.dumps(results, indent=1) + "\n")


def measured(clients: list[int], parameters: list[int]) -> Iterator[dict[str, Any]]:
    """Yield the seconds of every rule for every size."""
    numbers = draw(max(*clients, AT_CLIENTS), max(parameters)).deltas.reshape(-1)
    sizes = [(n, max(parameters)) for n in clients]
    sizes += [(AT_CLIENTS, d) for d in parameters if (AT_CLIENTS, d) not in sizes]
    for n, d in sizes:
        rows = numbers[: n * d].reshape(n, d)
        part = np.ascontiguousarray(rows[:, :PART])
        for rule, timing in in_turn(rules(rows), REPETITIONS).items():
            yield {"n": n, "d": d, "rule": rule, "who": "fedsec", "seconds": timing.seconds}
        theirs = {rule: partial(function, part) for rule, function in PEERS.items()}
        for rule, timing in in_turn(theirs, REPETITIONS).items():
            yield {"n": n, "d": d, "rule": rule, "who": "Flower", "seconds": timing.scaled(d / part.shape[1]).seconds}


def rules(rows: Matrix) -> dict[str, Callable[[], object]]:
    """Return our rules, ready to be called."""
    updates = RoundUpdates(np.arange(len(rows), dtype=np.uint64), rows, np.ones(len(rows), np.int64))
    return {
        "mean": lambda: mean(updates),
        "squared distances": lambda: pairwise_squared_distances(rows),
        "trimmed mean": lambda: trimmed_mean(updates, 0.2),
        "median": lambda: coordinate_median(updates),
        "FLAME": lambda: flame(updates, np.random.default_rng(0)),
    }


if __name__ == "__main__":
    main()
