"""Taking times and memory so that ratios within one run can be trusted."""

import ctypes
import gc
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from fedsec.engine.simulation import ENVIRONMENT

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of several repetitions after one that is not counted, and the memory that they added, in MiB.

    ``added_mib`` is the peak of this function alone above what was resident before it; ``None`` where the system
    cannot tell (anything but Linux).
    """

    seconds: tuple[float, ...]
    added_mib: float | None

    @property
    def median(self) -> float:
        """Median of the repetitions."""
        return statistics.median(self.seconds)

    def scaled(self, factor: float) -> "Timing":
        """Return what ``factor`` times the work would take, where time and memory are linear in it."""
        added = None if self.added_mib is None else self.added_mib * factor
        return Timing(tuple(second * factor for second in self.seconds), added)

    def __str__(self) -> str:
        """Return the median with lowest and highest."""
        return f"{self.median:.3f} s ({min(self.seconds):.3f} to {max(self.seconds):.3f})"


def timed(function: Callable[[], object], repetitions: int = 5) -> Timing:
    """Call ``function`` once to warm up and then ``repetitions`` times."""
    before = reset_peak()
    function()
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    peak = peak_mib()
    return Timing(tuple(seconds), None if before is None or peak is None else max(0.0, peak - before))


def reset_peak() -> float | None:
    """Forget the highest resident memory of this process, and return what is resident now, in MiB.

    What was freed goes back to the kernel first: kept in the heap it would hide what the next function needs.
    """
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        CLEAR.write_text(RESET_PEAK)
    except (OSError, AttributeError):
        return None
    return peak_mib()


def peak_mib() -> float | None:
    """Return the highest resident memory of this process since :func:`reset_peak`, in MiB."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    found = [line.split() for line in lines if line.startswith("VmHWM:")]
    return int(found[0][1]) / 2**10 if found else None  # in KiB


def with_malloc_settings() -> None:
    """Start this program again with the memory settings that fedsec gives to Ray's processes.

    Without them a peer that allocates gigabytes spends most of its time on page faults, and would look worse
    than it is.
    """
    settings = {key: value for key, value in ENVIRONMENT.items() if key.startswith("MALLOC_")}
    if any(key not in os.environ for key in settings):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | settings)


def environment() -> str:
    """Return what the numbers were measured on, in one line."""
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("flwr", "numpy", "torch", "ray"))
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {packages}"


def print_rows(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows of texts as a markdown table, the first one as its head."""
    print("\n".join(markdown(rows)))


def markdown(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return rows of texts as the lines of a markdown table, the first one as its head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return [*lines[:1], "| " + " | ".join("---" for _ in rows[0]) + " |", *lines[1:]]


def spread(seconds: Sequence[float]) -> str:
    """Return the lowest and the highest of several times."""
    return f"{min(seconds):.3g} to {max(seconds):.3g} s"


def write_results(
    out: Path | None, name: str, tables: Sequence[Sequence[tuple[str, ...]]], results: Mapping[str, Any]
) -> None:
    """Write tables as ``name.md`` and numbers as ``name.json`` into the folder ``out``, with the environment."""
    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    text = "\n\n".join("\n".join(markdown(table)) for table in tables)
    (out / f"{name}.md").write_text(f"{environment()}\n\n{text}\n")
    (out / f"{name}.json").write_text(json.dumps({"environment": environment(), **results}, indent=1) + "\n")
