"""FLAME and the other rules of one Gram matrix, against the time of that matrix."""

import numpy as np

from benchmarks.measuring import in_turn
from benchmarks.sections import Goal, Section, compared
from fedsec.defenses import RoundUpdates
from fedsec.defenses.distances import geometry
from fedsec.defenses.flame import flame, majority_cluster
from fedsec.defenses.krum import krum
from fedsec.defenses.norm_clipping import norm_clip_noise
from fedsec.defenses.trimmed_mean import trim_by_distance

GRAM = "one pass for all distances"
CLUSTERING = "its clustering alone"


def measure(updates: RoundUpdates) -> Section:
    """Time the rules that need distances or norms."""
    rows = updates.deltas
    n, d = rows.shape
    sent = np.random.default_rng(1).standard_normal((d,))
    between = geometry(rows).cosine_distances
    times = in_turn(
        {
            GRAM: lambda: geometry(rows),
            "FLAME, between updates": lambda: flame(updates, np.random.default_rng(0)),
            "FLAME, between models": lambda: flame(updates, np.random.default_rng(0), global_vector=sent),
            CLUSTERING: lambda: majority_cluster(between),
            "Krum": lambda: krum(updates, max(0, (n - 3) // 2)),
            "trimming by distance": lambda: trim_by_distance(updates, 0.5),
            "norm clipping and noise": lambda: norm_clip_noise(updates, "median", 0.01, np.random.default_rng(0)),
        }
    )
    goals = [
        Goal(f"{name}, n = {n}: times its Gram matrix", times[name].median / times[GRAM].median, 1.15)
        for name in ("FLAME, between updates", "FLAME, between models")
        if n == 100
    ]
    goals.append(Goal(f"FLAME, n = {n}: clustering", 1e3 * times[CLUSTERING].median, 5.0, unit="ms"))
    notes = {"FLAME, between models": "with the products of all updates and the global model"}
    return Section(f"FLAME and others, n = {n}, d = {d:,}", times, compared(times, GRAM, notes=notes), goals)
