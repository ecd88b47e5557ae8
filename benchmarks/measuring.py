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
        return f"{self.median:.3g} s ({spread(self.seconds)})"


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


def once(function: Callable[[], object]) -> Timing:
    """Call ``function`` a single time, so that nothing that an earlier call left in the heap counts twice."""
    before = reset_peak()
    start = time.perf_counter()
    function()
    seconds = time.perf_counter() - start
    peak = peak_mib()
    return Timing((seconds,), None if before is None or peak is None else max(0.0, peak - before))


def in_turn(
    functions: Mapping[str, Callable[[], object]], repetitions: int = 5, clock: Callable[[], float] = time.perf_counter
) -> dict[str, Timing]:
    """Time several functions in turn, so that a machine that slows down slows all; their memory is not measured.

    What computes on one thread may take ``time.process_time`` for its ``clock``: waiting for other work on the machine
    is not counted then.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for repetition in range(repetitions + 1):
        for name, function in functions.items():
            start = clock()
            function()
            if repetition:  # the first one warms up
                seconds[name].append(clock() - start)
    return {name: Timing(tuple(of_one), None) for name, of_one in seconds.items()}


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
    """Start this program again with the memory settings that fedsec gives to Ray's processes, and all cores.

    Without them a peer that allocates gigabytes spends most of its time on page faults, and would look worse
    than it is.
    """
    settings = {key: value for key, value in ENVIRONMENT.items() if key.startswith("MALLOC_")}
    if any(key not in os.environ for key in settings) or "OMP_NUM_THREADS" in os.environ:
        others = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], others | settings)


def environment() -> str:
    """Return what the numbers were measured on, in one line."""
    installed = {name: version(name) for name in ("flwr", "numpy", "numba", "torch", "ray", "byzfl")}
    packages = ", ".join(f"{name} {found}" for name, found in installed.items() if found)
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {packages}"


def version(package: str) -> str | None:
    """Return the version of a package, or ``None`` where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


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
