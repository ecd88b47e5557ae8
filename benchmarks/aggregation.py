"""Every rule of aggregation against Flower's own, byzfl's and PyTorch's, and against what the machine can do.

``python -m benchmarks.aggregation [--clients 40 100] [--parameters 11200000] [--only SUBJECT ...] [--out FOLDER]``
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import distances, flame, means, memory, order_statistics, small
from benchmarks.matrices import draw
from benchmarks.measuring import environment, print_rows, with_malloc_settings, write_results
from benchmarks.sections import GOAL_HEAD, Section
from fedsec.defenses import RoundUpdates
from fedsec.defenses.blocks import LONG

# In this order: the last one changes the updates.
SUBJECTS: dict[str, Callable[[RoundUpdates], Section]] = {
    "means": means.measure,
    "trimmed-mean": order_statistics.measure_trimmed_mean,
    "median": order_statistics.measure_median,
    "flame": flame.measure,
    "memory": memory.measure,
    "distances": distances.measure,
    "parallel": distances.measure_parallel,
}
SMALL = "small"
"""This one has its own number of clients and of parameters."""


def main() -> None:
    """Measure, print, and write what was found."""
    with_malloc_settings()
    torch.set_num_threads(os.cpu_count() or 1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=[40, 100])
    parser.add_argument("--parameters", type=int, default=11_200_000)
    parser.add_argument("--only", choices=[*SUBJECTS, SMALL], nargs="+", default=[*SUBJECTS, SMALL])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    print(f"\n{environment()}; medians of five after one, of others three after one")
    sections = [shown(small.measure())] if SMALL in options.only else []
    for n in options.clients:
        sections += measured(n, options.parameters, options.only)
    goals = [GOAL_HEAD, *(goal.row() for section in sections for goal in section.goals)]
    print("\n## Goals\n")
    print_rows(goals)
    results = {"sections": [section.as_json() for section in sections]}
    write_results(options.out, "aggregation", [goals, *(section.titled() for section in sections)], results)


def measured(n: int, d: int, names: list[str]) -> list[Section]:
    """Measure the subjects of these names on one matrix, printing each."""
    updates = draw(n, d)
    warm_up(n)
    return [shown(SUBJECTS[name](updates)) for name in SUBJECTS if name in names]


def shown(section: Section) -> Section:
    """Print what was found on one subject, and return it."""
    print(f"\n## {section.title}\n", flush=True)
    print_rows(section.table)
    return section


def warm_up(n: int) -> None:
    """Let numba compile what it will, so that no measurement has its time or memory."""
    for rule in memory.rules(draw(n, LONG)).values():
        rule()


if __name__ == "__main__":
    main()
