"""Which clients are trained together, and by whom."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

Client = TypeVar("Client", bound=Any)


def cut_cohorts(workloads: Mapping[Client, int], size: int, workers: int) -> list[list[Client]]:
    """Return the clients in cohorts of at most ``size``, alike in work within each, the longest first.

    There are as many cohorts as keep every worker busy to the end: a multiple of ``workers`` where there are
    clients enough.

    Args:
        workloads: examples of each client.
        size: most clients of a cohort, from 1.
        workers: how many cohorts are trained at once, from 1.
    """
    clients = sorted(workloads, key=lambda client: (-workloads[client], client))
    if not clients:
        return []
    number = min(len(clients), workers * math.ceil(len(clients) / (size * workers)))
    ends = [round(len(clients) * (place + 1) / number) for place in range(number)]
    return [clients[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def deal(costs: Sequence[float], speeds: Sequence[float]) -> list[list[int]]:
    """Return which of the jobs each worker does: the longest first, to the one who would be done first.

    Args:
        costs: work of each job.
        speeds: work that each worker does in a second.
    """
    hands: list[list[int]] = [[] for _ in speeds]
    loads = [0.0] * len(speeds)
    for job in sorted(range(len(costs)), key=lambda job: (-costs[job], job)):
        worker = min(range(len(speeds)), key=lambda w: ((loads[w] + costs[job]) / speeds[w], w))
        hands[worker].append(job)
        loads[worker] += costs[job]
    return hands
