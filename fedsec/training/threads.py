"""One torch thread per client: actors times threads are the cores, and two threads in one process get in each
other's way as soon as the machine is shared.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch's operators on one thread, and with it in the same order of additions on every engine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
