"""One torch thread per client: actors times threads are the cores, and two threads in one process get in each
other's way as soon as the machine is shared.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch's operators on one thread, and with it in the same order of additions on every engine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def workers(device: torch.device) -> int:
    """Return how many threads keep a device busy: on a CPU one for each core that this process may use."""
    if device.type != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def on_every_core(function: Callable[[Item], Result], items: Iterable[Item], device: torch.device) -> list[Result]:
    """Return a function of every item, in their order: on a CPU, of several at a time on a torch thread each."""

    def alone(item: Item) -> Result:
        with one_thread():
            return function(item)

    with ThreadPoolExecutor(workers(device)) as pool:
        return list(pool.map(alone, items))
