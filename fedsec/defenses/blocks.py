"""Walking over a round's matrix in blocks of columns, so that no rule needs a second copy of it."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

from fedsec.defenses.updates import Vector

Result = TypeVar("Result")

SMALL = 1 << 22
"""Matrices of fewer elements are walked in this thread: starting the others would cost more than it saves."""


BLOCKS_IN_A_TASK = 16
"""Handing over a block to a thread takes as long as the product of a small one, so a thread gets several."""


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="fedsec-blocks")


os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked child has none of its parent's threads


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def map_blocks(function: Callable[[slice], Result], shape: tuple[int, ...], width: int) -> list[Result]:
    """Call ``function`` for every block of ``width`` columns of a matrix of ``shape``; return the answers in order.

    Large matrices are shared among one thread a core, and the BLAS library is held to one thread meanwhile:
    several small products at once are about twice as fast as one product on several threads.
    """
    answers = _walk(lambda task: [function(block) for block in task], shape, width)
    return [answer for of_task in answers for answer in of_task]


def sum_blocks(function: Callable[[slice], Vector], shape: tuple[int, ...], width: int) -> Vector:
    """Return the sum of what :func:`map_blocks` would return, without keeping all of it."""

    def sum_of(task: Sequence[slice]) -> Vector:
        total = np.array(function(task[0]))
        for block in task[1:]:
            total += function(block)
        return total

    totals = _walk(sum_of, shape, width)
    return sum(totals[1:], start=totals[0])


def _walk(run: Callable[[Sequence[slice]], Result], shape: tuple[int, ...], width: int) -> list[Result]:
    """Call ``run`` with the blocks of columns, in order and several at a time; return the answers in order."""
    rows, columns = shape
    blocks = [slice(start, min(start + width, columns)) for start in range(0, max(columns, 1), width)]
    if rows * columns < SMALL:
        return [run(blocks)]
    tasks = [blocks[start : start + BLOCKS_IN_A_TASK] for start in range(0, len(blocks), BLOCKS_IN_A_TASK)]
    with _blas().limit(limits=1, user_api="blas"):
        return list(_pool().map(run, tasks))
