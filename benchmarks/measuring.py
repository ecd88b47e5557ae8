"""Taking times and memory so that ratios within one run can be trusted."""

import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

from fedsec.engine.simulation import ENVIRONMENT


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of several repetitions after one that is not counted, and the memory that they added, in MiB."""

    seconds: tuple[float, ...]
    added_mib: float

    @property
    def median(self) -> float:
        """Median of the repetitions."""
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        """Return the median with lowest and highest."""
        return f"{self.median:.3f} s ({min(self.seconds):.3f} to {max(self.seconds):.3f})"


def timed(function: Callable[[], object], repetitions: int = 5) -> Timing:
    """Call ``function`` once to warm up and then ``repetitions`` times."""
    before = peak_mib()
    function()
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return Timing(tuple(seconds), peak_mib() - before)


def peak_mib() -> float:
    """Return the highest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


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


def print_rows(rows: list[tuple[str, ...]]) -> None:
    """Print rows of texts as a markdown table, the first one as its head."""
    for number, row in enumerate(rows):
        print("| " + " | ".join(row) + " |")
        if number == 0:
            print("| " + " | ".join("---" for _ in row) + " |")
