"""Which clients are trained together, and by whom."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

CALL_SECONDS = 0.2
"""A call that takes so long is worth its millisecond of overhead."""

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


def cut_hand(costs: Sequence[float], speed: float | None) -> list[list[int]]:
    """Return which of a worker's jobs it is given at once: few calls where they are short, else one call a job.

    A client that hangs, or kills its worker, costs those their answers or their time who are in the same call.

    Args:
        costs: work of each job.
        speed: work that the worker does in a second, where that is known.
    """
    number = len(costs) if speed is None else min(len(costs), math.ceil(sum(costs) / speed / CALL_SECONDS))
    ends = [round(len(costs) * (place + 1) / number) for place in range(number)]
    return [list(range(start, end)) for start, end in zip([0, *ends], ends, strict=False)]
