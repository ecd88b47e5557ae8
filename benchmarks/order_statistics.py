"""Trimmed mean and median by coordinate, against Flower's, byzfl's, and the time that it takes to read the matrix."""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks import peers
from benchmarks.limits import reader
from benchmarks.measuring import Timing, in_turn, timed
from benchmarks.sections import Goal, Section, compared
from fedsec.defenses import RoundUpdates
from fedsec.defenses.median import coordinate_median
from fedsec.defenses.trimmed_mean import trimmed_mean

TRIMMED = 0.2
PART = 16
"""The others are timed on one part in this many of the parameters, and scaled: they are linear in them."""

FASTER_THAN_FLOWER = {40: 60.0, 100: 40.0}
TIMES_THE_READ = {40: 2.5}
"""By number of clients."""

Rule = Callable[[NDArray[np.float32]], object]


def measure_trimmed_mean(updates: RoundUpdates) -> Section:
    """Time the trimmed mean of a round."""
    others: dict[str, Rule] = {
        "Flower legacy": lambda rows: peers.legacy_trimmed_mean(rows, TRIMMED),
        "Flower serverapp": lambda rows: peers.serverapp_trimmed_mean(rows, TRIMMED),
        "byzfl": lambda rows: peers.byzfl_rule("TrMean", rows, f=int(TRIMMED * len(rows))),
    }
    return measure(updates, "trimmed mean", lambda: trimmed_mean(updates, TRIMMED), others)


def measure_median(updates: RoundUpdates) -> Section:
    """Time the median of a round."""
    others: dict[str, Rule] = {
        "Flower legacy": peers.legacy_median,
        "Flower serverapp": peers.serverapp_median,
        "byzfl": lambda rows: peers.byzfl_rule("Median", rows),
    }
    return measure(updates, "median", lambda: coordinate_median(updates), others)


def measure(updates: RoundUpdates, name: str, ours: Callable[[], object], others: dict[str, Rule]) -> Section:
    """Time one rule and its peers."""
    n, d = updates.deltas.shape
    times = in_turn({name: ours, "read": reader(updates.deltas)})
    part = np.ascontiguousarray(updates.deltas[:, : max(1, d // PART)])
    notes = dict.fromkeys(others, f"timed on a part of 1 / {PART}, and scaled")
    for peer, rule in others.items():
        if peer == "byzfl" and peers.byzfl_aggregators() is None:
            continue
        times[peer] = timed(partial(rule, part), 3).scaled(d / part.shape[1])
    table = compared(times, name, limit="read", notes=notes)
    if "byzfl" not in times:
        table.append(("byzfl", "not installed", "", "", "pip install byzfl --no-deps"))
    goals = goals_of(name, times, n)
    return Section(f"{name.capitalize()}, n = {n}, d = {d:,}", times, table, goals)


def goals_of(name: str, times: dict[str, Timing], n: int) -> list[Goal]:
    """Return the goals for so many clients."""
    ours, found = times[name].median, []
    if n in FASTER_THAN_FLOWER:
        for peer in ("Flower legacy", "Flower serverapp"):
            faster = times[peer].median / ours
            found.append(Goal(f"{name}, n = {n}: {peer} / ours", faster, FASTER_THAN_FLOWER[n], at_least=True))
    if n in TIMES_THE_READ:
        read = times["read"].median
        found.append(Goal(f"{name}, n = {n}: ours / reading the matrix", ours / read, TIMES_THE_READ[n]))
    return found
