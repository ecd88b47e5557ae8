"""Plain averaging against Flower's, PyTorch's, and the time that it takes to read the matrix."""

from benchmarks import peers
from benchmarks.limits import reader
from benchmarks.measuring import in_turn, timed
from benchmarks.sections import Goal, Section, compared
from fedsec.defenses import RoundUpdates
from fedsec.defenses.mean import mean

FASTER_THAN_LEGACY = {100: 6.0}
"""By number of clients."""


def measure(updates: RoundUpdates) -> Section:
    """Time the mean of a round."""
    rows = updates.deltas
    n, d = rows.shape
    times = in_turn({"mean": lambda: mean(updates), "read": reader(rows)}) | {
        "Flower legacy mean": timed(lambda: peers.legacy_mean(rows), 3),
        "Flower serverapp mean": timed(lambda: peers.serverapp_mean(rows), 3),
        "torch.mean": timed(lambda: peers.torch_mean(rows), 3),
    }
    ours = times["mean"].median
    goals = [
        Goal(f"mean, n = {n}: Flower legacy / ours", times["Flower legacy mean"].median / ours, faster, at_least=True)
        for clients, faster in FASTER_THAN_LEGACY.items()
        if clients == n
    ]
    goals.append(Goal(f"mean, n = {n}: ours / reading the matrix", ours / times["read"].median, 1.5))
    table = compared(times, "mean", limit="read", notes={"read": "by all cores at once"})
    return Section(f"Mean, n = {n}, d = {d:,}", times, table, goals)
