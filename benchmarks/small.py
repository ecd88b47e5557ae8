"""The rules on a small round, ten clients of a LeNet-5, where a thread would cost more than it saves."""

import numpy as np

from benchmarks import peers
from benchmarks.matrices import draw
from benchmarks.measuring import in_turn
from benchmarks.sections import Section, Table
from fedsec.defenses.distances import pairwise_squared_distances
from fedsec.defenses.flame import flame
from fedsec.defenses.mean import mean
from fedsec.defenses.median import coordinate_median
from fedsec.defenses.trimmed_mean import trimmed_mean

CLIENTS, PARAMETERS = 10, 61_706
REPETITIONS = 21


def measure() -> Section:
    """Time every rule, and Flower's where it has one."""
    updates = draw(CLIENTS, PARAMETERS)
    rows = updates.deltas
    pairs = {
        "mean": (lambda: mean(updates), lambda: peers.legacy_mean(rows)),
        "squared distances": (lambda: pairwise_squared_distances(rows), lambda: peers.serverapp_distances(rows)),
        "trimmed mean": (lambda: trimmed_mean(updates, 0.2), lambda: peers.serverapp_trimmed_mean(rows, 0.2)),
        "median": (lambda: coordinate_median(updates), lambda: peers.serverapp_median(rows)),
    }
    times = in_turn({name: ours for name, (ours, _) in pairs.items()}, REPETITIONS)
    times |= in_turn({f"Flower's {name}": peer for name, (_, peer) in pairs.items()}, REPETITIONS)
    times |= in_turn({"FLAME": lambda: flame(updates, np.random.default_rng(0))}, REPETITIONS)
    table: Table = [("rule", "median (lowest to highest)", "Flower", "Flower / ours")]
    for name in [*pairs, "FLAME"]:
        peer = times.get(f"Flower's {name}")
        compared = ("", "") if peer is None else (str(peer), f"{peer.median / times[name].median:.1f}")
        table.append((name, str(times[name]), *compared))
    return Section(f"A small round, n = {CLIENTS}, d = {PARAMETERS:,}", times, table, [])
