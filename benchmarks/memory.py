"""What every rule needs beside the matrix and its own result, at its peak."""

from collections.abc import Callable

import numpy as np

from benchmarks.measuring import Timing, once
from benchmarks.sections import Goal, Section, Table
from fedsec.defenses import RoundUpdates, Verdict
from fedsec.defenses.flame import flame
from fedsec.defenses.krum import krum, multi_krum
from fedsec.defenses.mean import mean
from fedsec.defenses.median import coordinate_median
from fedsec.defenses.norm_clipping import norm_clip_noise
from fedsec.defenses.trimmed_mean import trim_by_distance, trimmed_mean

MIB = 2**20
SHARE = 2.0
"""Percent of the matrix."""


def measure(updates: RoundUpdates) -> Section:
    """Take the peak of every rule alone."""
    n, d = updates.deltas.shape
    times = {name: once(rule) for name, rule in rules(updates).items()}
    beside = {name: share(timing, n, d) for name, timing in times.items()}
    table: Table = [("rule", "beside matrix and result")]
    table += [(name, "not measured" if of is None else f"{of:.2f} %") for name, of in beside.items()]
    known = [of for of in beside.values() if of is not None]
    goals = [Goal(f"memory, n = {n}: most that a rule needs", max(known), SHARE, unit="%")] if known else []
    return Section(f"Memory, n = {n}, d = {d:,}", times, table, goals)


def rules(updates: RoundUpdates) -> dict[str, Callable[[], Verdict]]:
    """Return every rule, ready to be called."""
    n, d = updates.deltas.shape
    malicious = max(0, (n - 3) // 2)
    sent = np.zeros(d)
    return {
        "mean": lambda: mean(updates),
        "Krum": lambda: krum(updates, malicious),
        "multi-Krum": lambda: multi_krum(updates, malicious),
        "trimmed mean": lambda: trimmed_mean(updates, 0.2),
        "median": lambda: coordinate_median(updates),
        "trimming by distance": lambda: trim_by_distance(updates, 0.5),
        "norm clipping and noise": lambda: norm_clip_noise(updates, "median", 0.01, np.random.default_rng(0)),
        "FLAME, between updates": lambda: flame(updates, np.random.default_rng(0)),
        "FLAME, between models": lambda: flame(updates, np.random.default_rng(0), global_vector=sent),
    }


def share(timing: Timing, n: int, d: int) -> float | None:
    """Return what was added to a matrix of (n, d) float32 and a result of (d,), in percent of the matrix."""
    if timing.added_mib is None:
        return None
    return 100.0 * (timing.added_mib * MIB - 4.0 * d) / (4.0 * n * d)
