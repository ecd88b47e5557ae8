"""A round of ten LeNet-5 clients on every engine, against Flower as it comes and against plain loops.

``python -m benchmarks.rounds [--examples 60000] [--rounds 6] [--passes 2] [--out FOLDER]``

Every arrangement runs in a process of its own, with the memory settings that a person would have there: fedsec sets
them for the processes it starts, Flower alone does not. They take turns, so that a machine that slows down slows all.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arrangements import ARRANGEMENTS
from benchmarks.clients import configuration, write_images
from benchmarks.measuring import environment, print_rows, spread, write_results
from fedsec.data.datasets import load
from fedsec.engine.simulation import ENVIRONMENT

PLAIN, TUNED, LOOP, COHORT = "Flower as shipped", "engine ray", "plain loop, a process a core", "engine cohort"


def main() -> None:
    """Measure and print; or measure one arrangement, and print its seconds as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", choices=list(ARRANGEMENTS), help=argparse.SUPPRESS)
    parser.add_argument("--dataset", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        config = configuration(options.dataset, rounds=options.rounds + 1)
        print(json.dumps(ARRANGEMENTS[options.only].rounds(config)[1:]))
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"FEDSEC_CACHE": f"{folder}/cache", "FEDSEC_RUNS": f"{folder}/runs"}
        dataset = write_images(Path(folder) / "images", options.examples)
        load(str(dataset), "train")
        seconds: dict[str, list[float]] = {name: [] for name in ARRANGEMENTS}
        for _ in range(options.passes):
            for name in ARRANGEMENTS:
                seconds[name] += measured_alone(name, dataset, options.rounds)
    print(f"\n10 LeNet-5 clients, {options.examples // 10:,} images each, one epoch; {environment()}")
    print(
        f"seconds of a round without evaluation; {options.passes} x {options.rounds} rounds each, the first left out\n"
    )
    report(seconds, options.out)


def measured_alone(name: str, dataset: Path, rounds: int) -> list[float]:
    """Return the seconds of an arrangement's rounds, measured in a process of its own."""
    settings = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    settings |= {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    settings.pop("OMP_NUM_THREADS", None)
    if ARRANGEMENTS[name].tuned:
        settings |= ENVIRONMENT
    command = [sys.executable, "-m", "benchmarks.rounds", "--only", name]
    command += ["--dataset", str(dataset), "--rounds", str(rounds)]
    finished = subprocess.run(command, env=settings, check=True, stdout=subprocess.PIPE, text=True)
    found: list[float] = json.loads(finished.stdout.splitlines()[-1])
    return found


def report(seconds: dict[str, list[float]], out: Path | None) -> None:
    """Print every arrangement, and the goals."""
    medians = {name: float(np.median(of_one)) for name, of_one in seconds.items()}
    head = ("round", "median", "lowest to highest", f"{PLAIN} / this", "this / plain loop")
    rows = [head] + [
        (
            name,
            f"{medians[name]:.2f} s",
            spread(of_one),
            f"{medians[PLAIN] / medians[name]:.2f}",
            f"{medians[name] / medians[LOOP]:.2f}",
        )
        for name, of_one in seconds.items()
    ]
    faster, tuned = medians[PLAIN] / medians[COHORT], medians[TUNED] / medians[LOOP]
    goals = [
        ("goal", "measured", "reached"),
        (f"engine cohort >= 2.0 x faster than {PLAIN}", f"{faster:.2f} x", "yes" if faster >= 2.0 else "no"),
        ("engine ray <= 1.05 x the plain loop", f"{tuned:.2f} x", "yes" if tuned <= 1.05 else "no"),
    ]
    print_rows(rows)
    print()
    print_rows(goals)
    results: dict[str, Any] = {"seconds": seconds, "medians": medians}
    write_results(out, "rounds", [rows, goals], results)


if __name__ == "__main__":
    main()
