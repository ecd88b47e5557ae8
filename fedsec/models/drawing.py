"""Initial weights that a seed alone decides, whatever else draws from the process's generator meanwhile."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_drawing = threading.Lock()
"""Layers draw their weights from the one generator of the process: one network at a time, whatever the thread."""


@contextmanager
def drawn_from(seed: int | None) -> Iterator[None]:
    """Build networks whose weights are drawn from ``seed``; with ``None`` from the process's generator as it stands.

    The process's generator is left as it was where there is a seed, and those of GPUs are not touched: networks are
    built on the CPU.
    """
    with _drawing:
        if seed is None:
            yield
            return
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would also seed every GPU's
            yield
