"""Walking over a round's matrix in blocks of columns, so that no rule needs a second copy of it."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from threadpoolctl import ThreadpoolController

Result = TypeVar("Result")

SMALL = 1 << 22
"""Matrices of fewer elements are walked in this thread: starting the others would cost more than it saves."""


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
    rows, columns = shape
    slices = [slice(start, min(start + width, columns)) for start in range(0, columns, width)]
    if rows * columns < SMALL:
        return [function(block) for block in slices]
    with _blas().limit(limits=1, user_api="blas"):
        return list(_pool().map(function, slices))
