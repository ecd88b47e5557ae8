"""The round's matrix in memory that the processes of one machine share: who trains a client writes its row."""

import itertools
import mmap
import os
from dataclasses import dataclass

import numpy as np

from fedsec.defenses.updates import Matrix

_serials = itertools.count()


@dataclass(frozen=True, slots=True)
class RowsHandle:
    """Where another process of the same machine finds the matrix.

    Attributes:
        machine: the machine that it is on.
        path: file that stands for it.
        shape: (n, d).
        serial: tells it from a later matrix that stands under the same path.
        inode: tells it from anything else that may stand there, in another container for instance.
    """

    machine: str
    path: str
    shape: tuple[int, int]
    serial: int
    inode: int


class SharedRows:
    """A float32 matrix (n, d) without a file on any disk: it is gone with the last process that maps it.

    Args:
        shape: (n, d).
        machine: name of this machine, compared by :func:`open_rows`.

    Raises:
        OSError: the system has no memory for it, or no anonymous files (those that are not Linux).
    """

    def __init__(self, shape: tuple[int, int], machine: str) -> None:
        if not hasattr(os, "memfd_create"):
            raise OSError("this system has no anonymous files")
        self._file = os.memfd_create("fedsec-rows")
        try:
            os.ftruncate(self._file, max(1, 4 * shape[0] * shape[1]))
            self.rows = _mapped(self._file, shape)
        except OSError:
            self.close()
            raise
        path, inode = f"/proc/{os.getpid()}/fd/{self._file}", os.fstat(self._file).st_ino
        self.handle = RowsHandle(machine, path, shape, next(_serials), inode)

    def close(self) -> None:
        """Let go of the file. The matrix lives as long as a view of it does."""
        os.close(self._file)


def open_rows(handle: RowsHandle | None, machine: str) -> Matrix | None:
    """Return the matrix of another process, or ``None`` where its memory cannot be shared."""
    if handle is None or handle.machine != machine:
        return None
    try:
        file = os.open(handle.path, os.O_RDWR)
    except OSError:  # another user's process, or a container of its own
        return None
    try:
        return _mapped(file, handle.shape) if os.fstat(file).st_ino == handle.inode else None
    finally:
        os.close(file)


def _mapped(file: int, shape: tuple[int, int]) -> Matrix:
    memory = mmap.mmap(file, max(1, 4 * shape[0] * shape[1]))
    return np.frombuffer(memory, np.float32, count=shape[0] * shape[1]).reshape(shape)
