"""Whom the loss forest flags: ``python -m benchmarks.loss_forest``; with scikit-learn's forest beside ours.

Honest losses are drawn from N(1, 0.15), those of attackers from N(5, 0.3), anew in every trial.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fedsec.defenses.isolation_forest import isolation_scores
from fedsec.defenses.loss_forest import ForestOptions, is_valid, outliers
from fedsec.defenses.updates import Vector

SETTINGS = ((4, 0), (4, 1), (4, 2), (5, 2), (10, 0), (10, 1), (10, 3), (20, 0), (20, 2))
Forest = Callable[[Vector, int], Vector]


def ours(losses: Vector, trial: int) -> Vector:
    """Return the scores of fedsec's forest."""
    return isolation_scores(losses, np.random.default_rng(trial))


def reference(losses: Vector, trial: int) -> Vector:
    """Return the scores of the authors' code: scikit-learn's forest of the pairs (0, loss)."""
    from sklearn.ensemble import IsolationForest

    pairs = np.column_stack([np.zeros(len(losses)), losses])
    forest = IsolationForest(max_samples=len(losses), random_state=999, contamination="auto")
    scores: Vector = -forest.fit(pairs).score_samples(pairs)
    return scores


class Way(NamedTuple):
    """A forest and its options, by a name for the table."""

    name: str
    forest: Forest
    options: ForestOptions


WAYS = (
    Way("the authors' code", reference, ForestOptions(gate="whole-half", absolute=True)),
    Way('gate = "whole-half"', ours, ForestOptions(gate="whole-half")),
    Way("default", ours, ForestOptions()),
    Way('sides = "high"', ours, ForestOptions(sides="high")),
    Way('sides = "high", floor = 3', ours, ForestOptions(sides="high", floor=3.0)),
    Way('sides = "high", floor = 6', ours, ForestOptions(sides="high", floor=6.0)),
)


def measured(way: Way, n: int, attackers: int, trials: int) -> tuple[float, float, float, float, float]:
    """Return percent of attackers and honest clients flagged, of rounds that count, and of both that lose weight."""
    rng = np.random.default_rng([n, attackers])
    flags, valid = np.empty((trials, n), bool), np.empty((trials, 1), bool)
    for trial in range(trials):
        losses = np.where(np.arange(n) < attackers, rng.normal(5.0, 0.3, n), rng.normal(1.0, 0.15, n))
        losses = np.abs(losses) if way.options.absolute else losses
        flags[trial] = outliers(losses, way.forest(losses, trial), way.options)
        valid[trial] = is_valid(flags[trial], way.options)
    parts = [part.mean() if part.size else np.nan for part in np.split(flags, [attackers], axis=1)]
    losing = [part.mean() if part.size else np.nan for part in np.split(flags & valid, [attackers], axis=1)]
    return (100 * parts[0], 100 * parts[1], 100 * valid.mean(), 100 * losing[0], 100 * losing[1])


def table(trials: int) -> Iterator[str]:
    """Yield the lines of the table of who is flagged."""
    columns = ("attackers flagged", "honest flagged", "gate open", "attackers decay", "honest decay")
    yield f"| options | n | attackers | {' | '.join(columns)} |"
    yield "| --- " * (3 + len(columns)) + "|"
    for way in WAYS:
        for n, attackers in SETTINGS:
            numbers = measured(way, n, attackers, min(trials, 100) if way.forest is reference else trials)
            cells = " | ".join("" if np.isnan(number) else f"{number:.1f} %" for number in numbers)
            yield f"| {way.name} | {n} | {attackers} | {cells} |"


def times(repeats: int) -> Iterator[str]:
    """Yield the lines of the table of times: the least of some repeats."""
    yield f"Load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; the fastest of {repeats}."
    yield ""
    yield "| n | scikit-learn | fedsec |"
    yield "| --- | --- | --- |"
    for n in (4, 10, 100):
        losses = np.random.default_rng(n).normal(size=n)
        best = [min(_seconds(forest, losses, trial) for trial in range(repeats)) for forest in (reference, ours)]
        yield f"| {n} | {1e3 * best[0]:.1f} ms | {1e3 * best[1]:.1f} ms |"


def _seconds(forest: Forest, losses: Vector, trial: int) -> float:
    start = time.perf_counter()
    forest(losses, trial)
    return time.perf_counter() - start


def main() -> None:
    """Measure, print, and keep where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000, help="of our forest; of scikit-learn's at most 100")
    parser.add_argument("--repeats", type=int, default=10, help="of which the fastest is the time")
    parser.add_argument("--out", type=Path, help="folder that keeps what was found, as loss_forest.md")
    given = parser.parse_args()
    lines = ["# Whom the loss forest flags", "", _about(given), "", *table(given.trials)]
    lines += ["", "## Time of one forest of 100 trees", "", *times(given.repeats)]
    print("\n".join(lines))
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "loss_forest.md").write_text("\n".join(lines) + "\n")


def _about(given: argparse.Namespace) -> str:
    return (
        f"`python -m benchmarks.loss_forest --trials {given.trials} --out benchmarks/results`. "
        f"Losses of honest clients from N(1, 0.15), of attackers from N(5, 0.3); {given.trials} rounds "
        f"({min(given.trials, 100)} with scikit-learn's forest). An open gate is an answer that counts; "
        "decay is a flag in such a round."
    )


if __name__ == "__main__":
    main()
