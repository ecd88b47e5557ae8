"""Ten clients fill their classes by GANs of their own, through Flower's simulation on Ray: seconds and memory.

``python -m benchmarks.filling [--examples 60000] [--steps 100] [--out FOLDER]``
"""

import argparse
import os
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.arrangements import Unseen
from benchmarks.clients import configuration, write_images
from benchmarks.measuring import environment, print_rows, with_malloc_settings, write_results
from fedsec.engine.run import execute
from fedsec.runs.record import RunFolder
from fedsec.runs.sections import GanSection

MOST_MIB = 4096.0
LINEAR = 1.1
"""How much more than twice the time twice the images may take."""


class MemoryOfAll(threading.Thread):
    """Looks twice a second what this process and all below it hold, each shared page counted once.

    Attributes:
        peak_mib: the most that was seen.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_mib = 0.0
        self._over = threading.Event()

    def run(self) -> None:
        """Look until it is over."""
        while not self._over.wait(0.5):
            self.peak_mib = max(self.peak_mib, sum(map(_proportional_kib, _family(os.getpid()))) / 2**10)

    def stop(self) -> float:
        """Return the most that was seen."""
        self._over.set()
        self.join()
        return self.peak_mib


def main() -> None:
    """Measure and print."""
    with_malloc_settings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=60_000)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"FEDSEC_CACHE": f"{folder}/cache", "FEDSEC_RUNS": f"{folder}/runs"}
        dataset = write_images(Path(folder) / "images", options.examples)
        found = {str(factor): stage(dataset, factor * options.steps, "mean") for factor in (1, 2, 4)}
        found |= {"largest": stage(dataset, options.steps, "largest")}  # which makes ten times the images
    head = (
        "steps of each of 10 GANs", "filled to the", "stage", "sum over the clients", "in parallel",
        "memory of all processes",
    )  # fmt: skip
    rows = [head]
    for one in found.values():
        gain = f"{one['clients'] / one['stage']:.2f} x"
        times = (f"{one['stage']:.1f} s", f"{one['clients']:.1f} s", gain, f"{one['peak_mib']:.0f} MiB")
        rows.append((str(one["steps"]), str(one["fill"]), *times))
    growth = (found["4"]["clients"] - found["2"]["clients"]) / (found["2"]["clients"] - found["1"]["clients"]) / 2
    peak = max(one["peak_mib"] for one in found.values())
    goals = [
        ("goal", "measured", "reached"),
        (
            "time is linear in images: the last doubling over twice the first",
            f"{growth:.2f} x",
            _within(growth, LINEAR),
        ),
        (f"memory of the stage <= {MOST_MIB:.0f} MiB", f"{peak:.0f} MiB", _within(peak, MOST_MIB)),
    ]
    print(f"\n{environment()}\n")
    print_rows(rows)
    print()
    print_rows(goals)
    write_results(options.out, "filling", [rows, goals], {"steps": options.steps, "found": found, "growth": growth})


def stage(dataset: Path, steps: int, fill: str) -> dict[str, Any]:
    """Return the seconds of the stage, of all its clients in sum, and the memory at its peak."""
    data = {"partition": "label-skew", "q": 0.9, "balance": "cgan", "fill": fill}
    config = replace(configuration(dataset, rounds=1, data=data), gan=GanSection(steps=steps))
    folder, memory = RunFolder.create(config), MemoryOfAll()
    memory.start()
    execute(config, folder, Unseen(), engine="ray")
    peak = memory.stop()
    seconds = sum(record.seconds for record in folder.fillings().values())
    spent = folder.environment()["starts"][0]["filling_seconds"]
    return {"steps": steps, "fill": fill, "stage": spent, "clients": seconds, "peak_mib": peak}


def _family(process: int) -> list[int]:
    """Return a process and all below it."""
    try:
        children = Path(f"/proc/{process}/task").glob("*/children")
        below = [int(child) for file in children for child in file.read_text().split()]
    except OSError:
        return []
    return [process, *(member for child in below for member in _family(child))]


def _proportional_kib(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _within(found: float, most: float) -> str:
    return "yes" if found <= most else "no"


if __name__ == "__main__":
    main()
