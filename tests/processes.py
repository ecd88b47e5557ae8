"""Processes of a test, found by a variable in their environment."""

import os
import signal
import time
from pathlib import Path


def with_environment(name: str, value: str) -> list[int]:
    """Return the ids of the other processes that were started with ``name=value`` in their environment."""
    wanted = f"{name}={value}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


def end(name: str, value: str, patience: float = 20.0) -> None:
    """End all processes with ``name=value`` in their environment, and wait until they are gone."""
    deadline = time.monotonic() + patience
    while left := with_environment(name, value):
        late = time.monotonic() > deadline - patience / 2
        for process in left:
            try:
                os.kill(process, signal.SIGKILL if late else signal.SIGTERM)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {left} do not end")
        time.sleep(0.2)
