"""Walking over a round's matrix in blocks of columns, so that no rule needs a second copy of it."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import numpy as np
from threadpoolctl import LibController, ThreadpoolController

from fedsec.defenses.updates import Vector

Result = TypeVar("Result")

SMALL = 1 << 22
"""Matrices of fewer elements are walked in this thread: starting the others would cost more than it saves."""

LONG = 1 << 20
"""Rows of so many columns are multiplied and added by kernels of their own: shorter ones take no time worth it, and
keep the bits that the published tables were measured with."""

LONG_BLOCK = 1 << 14
"""Columns of a block for such a kernel, which walks over smaller ones of its own."""

BLAS_BLOCK = 2048
"""Columns of a block for a BLAS library: short enough for float32 sums inside, and fits a core's second-level cache."""

BLOCKS_IN_A_TASK = 16
"""Handing over a block to a thread takes as long as the product of a small one, so a thread gets several."""


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="fedsec-blocks")


os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked child has none of its parent's threads


@cache
def _blas() -> list[LibController]:
    libraries: list[LibController] = ThreadpoolController().select(user_api="blas").lib_controllers
    return libraries


@contextmanager
def single_blas() -> Iterator[None]:
    """Hold BLAS to one thread: as threadpoolctl's own ``limit`` does, in a tenth of the time of a small mean.

    Several threads of BLAS would share the cores with those of this module for a while even after a product, as they
    spin until the next one; and the order of its sums may depend on their number.
    """
    before = [(library, library.get_num_threads()) for library in _blas()]
    changed = [(library, threads) for library, threads in before if threads != 1]
    try:
        for library, _ in changed:
            library.set_num_threads(1)
        yield
    finally:
        for library, threads in changed:
            library.set_num_threads(threads)


def map_blocks(function: Callable[[slice], Result], shape: tuple[int, ...], width: int) -> list[Result]:
    """Call ``function`` for every block of ``width`` columns of a matrix of ``shape``; return the answers in order.

    Large matrices are shared among one thread a core, and the BLAS library is held to one thread meanwhile:
    several small products at once are about twice as fast as one product on several threads. Small ones are held
    to one thread too, as the order of a library's sums may depend on the number of its threads.
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


def meanwhile(function: Callable[[], Result], columns: int) -> Callable[[], Result]:
    """Let another thread call ``function`` while this one goes on; return what waits for its answer.

    Where there are fewer than :data:`LONG` columns to work on, it is called when the answer is asked for.
    """
    return function if columns < LONG else _pool().submit(function).result


def _walk(run: Callable[[Sequence[slice]], Result], shape: tuple[int, ...], width: int) -> list[Result]:
    """Call ``run`` with the blocks of columns, in order and several at a time; return the answers in order."""
    rows, columns = shape
    blocks = [slice(start, min(start + width, columns)) for start in range(0, max(columns, 1), width)]
    tasks = [blocks[start : start + BLOCKS_IN_A_TASK] for start in range(0, len(blocks), BLOCKS_IN_A_TASK)]
    with single_blas():
        return [run(blocks)] if rows * columns < SMALL else list(_pool().map(run, tasks))
