"""A matrix in memory that two processes share, and what is done where they cannot."""

import errno
import gc
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedsec.engine import rows
from fedsec.engine.rows import SharedRows, open_rows

WRITE = """
import pickle, sys
from fedsec.engine.rows import open_rows
handle = pickle.loads(bytes.fromhex(sys.argv[1]))
matrix = open_rows(handle, "here")
matrix[1] = matrix[0] + 1
"""


def files_of_rows() -> int:
    """Return how many files of matrices this process has open."""
    gc.collect()
    files = [file for file in Path("/proc/self/fd").iterdir() if os.path.lexists(file)]
    return sum("fedsec-rows" in str(file.readlink()) for file in files)


def test_another_process_writes_into_the_matrix() -> None:
    shared = SharedRows((3, 5), "here")
    shared.rows[0] = np.arange(5)
    command = [sys.executable, "-c", WRITE, pickle.dumps(shared.handle).hex()]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run(command, check=True, timeout=120, env=environment)
    assert shared.rows.tolist() == [[0, 1, 2, 3, 4], [1, 2, 3, 4, 5], [0, 0, 0, 0, 0]]
    shared.close()


def test_it_begins_as_zeros_of_float32() -> None:
    shared = SharedRows((2, 3), "here")
    assert (shared.rows.dtype, shared.rows.shape) == (np.float32, (2, 3))
    assert not shared.rows.any()
    shared.close()


@pytest.mark.parametrize("shape", [(0, 7), (4, 0), (0, 0)])
def test_it_may_be_empty(shape: tuple[int, int]) -> None:
    shared = SharedRows(shape, "here")
    opened = open_rows(shared.handle, "here")
    assert shared.rows.shape == shape
    assert opened is not None
    assert opened.shape == shape
    shared.close()


def test_another_machine_and_no_matrix_give_none() -> None:
    shared = SharedRows((2, 3), "here")
    assert open_rows(shared.handle, "there") is None
    assert open_rows(None, "here") is None
    shared.close()


def test_a_process_that_may_not_look_into_this_one_gets_none() -> None:
    shared = SharedRows((2, 3), "here")
    assert open_rows(replace(shared.handle, path="/proc/1/fd/9999"), "here") is None
    shared.close()
    assert open_rows(shared.handle, "here") is None


def test_handles_tell_a_matrix_from_a_later_one_under_the_same_path() -> None:
    first = SharedRows((2, 3), "here")
    first.close()
    second = SharedRows((2, 3), "here")
    assert first.handle.path == second.handle.path
    assert first.handle != second.handle
    second.close()


def test_views_outlive_the_file() -> None:
    shared = SharedRows((2, 3), "here")
    opened = open_rows(shared.handle, "here")
    assert opened is not None
    shared.close()
    opened[1] = 7.0
    assert shared.rows[1].tolist() == [7.0, 7.0, 7.0]


def test_nothing_is_left_open() -> None:
    before = files_of_rows()
    for _ in range(3):
        shared = SharedRows((2, 3), "here")
        open_rows(shared.handle, "here")
        shared.close()
    del shared
    assert files_of_rows() == before


def test_a_system_without_anonymous_files_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    with pytest.raises(OSError, match="no anonymous files"):
        SharedRows((2, 3), "here")


def test_a_system_without_memory_leaves_no_file_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: int, shape: tuple[int, int]) -> None:
        raise OSError(errno.ENOMEM, "no memory")

    before = files_of_rows()
    monkeypatch.setattr(rows, "_mapped", refuse)
    with pytest.raises(OSError, match="no memory"):
        SharedRows((2, 3), "here")
    assert files_of_rows() == before
