"""Writing files so that a reader, or the next run after a crash, finds the old content or the new, never a mixture."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, write: Callable[[BinaryIO], object], *, earlier: Path | None = None) -> None:
    """Let ``write`` fill a temporary file beside ``path``, sync it, and rename it to ``path``.

    On any failure, a full disk among them, ``path`` keeps its earlier content and the temporary file is removed.

    Args:
        path: the file.
        write: is called with the temporary file.
        earlier: name for the file that was there, in the same folder. A process that is killed between the two
            renames leaves that one alone.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        if earlier is not None and path.exists():
            path.replace(earlier)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def remove_partial_files(folder: Path, *, but: str = "") -> None:
    """Remove what :func:`write_atomically` left in ``folder`` when its process was killed.

    The caller must be the only one that writes there, but for the file named ``but``.
    """
    for path in folder.glob(".*.partial"):
        if not (but and path.name.startswith(f".{but}.")):
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames and new files in ``folder`` survive a loss of power, where the system can sync folders."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
