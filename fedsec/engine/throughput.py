"""How many clients are best trained at once: a short measurement on the machine that will do it."""

import math
import time
from collections.abc import Mapping
from dataclasses import replace

from fedsec.clients import BenignClient
from fedsec.clients.benign import fit_cohort
from fedsec.training.cohort import splits_batches
from fedsec.training.parameters import get_arrays

CPU_SIZES = (1, 2, 5, 10)
GPU_SIZES = (1, 10, 50, 100, 200)
SECONDS, MOST_STEPS, REPEATS = 0.1, 50, 2
"""How long a size is measured, in seconds and steps, and how often, unless a single step takes longer."""

WORTH_IT = 1.03
"""A larger cohort must be faster by so much: a difference below is noise."""


def measure(client: BenignClient, largest: int) -> dict[int, float]:
    """Return the examples trained in a second by cohort size, for sizes up to ``largest``.

    Only size 1 is tried where the network cannot be trained for several clients at once, and on a CPU also where the
    bits of a result would depend on the size: chance decides a measurement, and a run must repeat. Where steps take
    long, the first size that is slower than the one before is the last. So is one that fails, for want of memory for
    instance.

    Args:
        client: one that is typical; it must hold examples.
        largest: most clients that a worker will be given.
    """
    grouped, on_gpu = client.task.grouped, client.task.device.type == "cuda"
    sizes = GPU_SIZES if on_gpu else CPU_SIZES
    together = grouped is not None and (on_gpu or splits_batches(grouped, client.task.device))
    batch = min(client.task.settings.batch_size, len(client.task.labels))
    rates: dict[int, float] = {}
    _seconds(client, 1, batch, steps=1)  # the first step of all may compile something
    for size in sizes:
        if size > 1 and (size > largest or not together):
            break
        try:
            first = _seconds(client, size, batch, steps=1)  # which also sets things up
        except Exception:
            if size == 1:
                raise
            break
        if first > SECONDS:
            rates[size] = size * batch / first
            if size > 1 and rates[size] < max(rates.values()):
                break
        else:
            steps = min(MOST_STEPS, math.ceil(SECONDS / first))
            # What disturbs a measurement only makes it longer.
            rates[size] = size * batch * steps / min(_seconds(client, size, batch, steps) for _ in range(REPEATS))
    return rates


def best_size(rates: Mapping[int, float]) -> int:
    """Return the smallest cohort size that is about as fast as any, from the examples in a second by size."""
    best = min(rates)
    for size in sorted(rates):
        if rates[size] > WORTH_IT * rates[best]:
            best = size
    return best


def _seconds(client: BenignClient, size: int, batch: int, steps: int) -> float:
    """Return how long so many steps of ``size`` clients like this one take."""
    task = client.task
    settings = replace(task.settings, epochs=steps)
    few = replace(task, images=task.images[:batch], labels=task.labels[:batch], settings=settings, epoch_share=1.0)
    start = list(get_arrays(task.model).values())
    began = time.perf_counter()
    if size == 1:
        BenignClient(few).fit(start, {})
    else:
        fit_cohort(few, [BenignClient(few).member(start, 0) for _ in range(size)])
    return time.perf_counter() - began
