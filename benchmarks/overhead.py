"""What engine cohort costs beside the training: idle clients, many clients, a second run, a busy machine.

``python -m benchmarks.overhead [--rounds 12] [--examples 60000] [--out FOLDER]``
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from flwr.client import NumPyClient
from numpy.typing import NDArray

from benchmarks.arrangements import Unseen
from benchmarks.clients import IdleClient, configuration, idle_client, write_images
from benchmarks.measuring import environment, print_rows, spread, with_malloc_settings, write_results
from fedsec.client_app import build_client
from fedsec.data.datasets import load
from fedsec.engine.cohort import CohortFleet
from fedsec.engine.pool import CohortPool, ray_pool
from fedsec.engine.sweep import Sweep
from fedsec.engine.worker import MakeClient
from fedsec.federation import initial_arrays, run_federation
from fedsec.runs.config import RunConfig
from fedsec.runs.record import RunFolder
from fedsec.strategies import RobustFedAvg

SMALL, LARGE = 61_706, 11_200_000
Arrays = Mapping[str, NDArray[np.generic]]


def main() -> None:
    """Measure and print."""
    with_malloc_settings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--examples", type=int, default=60_000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ray_pool("cpu") as pool:
        os.environ |= {"FEDSEC_CACHE": f"{folder}/cache", "FEDSEC_RUNS": f"{folder}/runs"}
        images = write_images(Path(folder) / "images", options.examples)
        tenth = write_images(Path(folder) / "tenth", options.examples // 10)
        seconds = {
            "10 idle": idle_rounds(pool, images, 10, SMALL, options.rounds),
            "100 idle": idle_rounds(pool, images, 100, SMALL, options.rounds),
            "10 idle, large": idle_rounds(pool, images, 10, LARGE, options.rounds),
            "10 trained": trained_rounds(pool, tenth, 10, options.rounds),
            "100 trained": trained_rounds(pool, images, 100, options.rounds // 2),
            "quiet": trained_rounds(pool, images, 10, options.rounds // 2),
        }
        with foreign_process():
            seconds["busy"] = trained_rounds(pool, images, 10, options.rounds // 2)
        seconds["second run"] = [seconds_to_first_client(pool, images, seed) for seed in range(6)][1:]
    print(f"\n{environment()}; medians, the first round or run left out\n")
    report(seconds, options.examples, options.out)


def idle_rounds(pool: CohortPool, dataset: Path, clients: int, width: int, rounds: int) -> list[float]:
    """Return the seconds of rounds of idle clients with a model of ``width`` parameters, averaged as a run does it."""
    arrays: Arrays = {"weight": np.zeros(width, np.float32)}
    return _rounds(pool, configuration(dataset, rounds=rounds, clients=clients), arrays, rounds, idle_client)


def trained_rounds(pool: CohortPool, dataset: Path, clients: int, rounds: int) -> list[float]:
    """Return the seconds of rounds of clients that train a LeNet-5, without evaluation."""
    config = configuration(dataset, rounds=rounds, clients=clients)
    return _rounds(pool, config, initial_arrays(config, load(config.data.dataset, "test")), rounds, build_client)


def _rounds(pool: CohortPool, config: RunConfig, arrays: Arrays, rounds: int, make_client: MakeClient) -> list[float]:
    fleet, strategy, seconds = CohortFleet(config, Sweep(pool), make_client=make_client), RobustFedAvg(), []
    fleet.meet(lambda text: None, lambda clients: True)
    for server_round in range(1, rounds + 1):
        start = time.perf_counter()
        judged = fleet.train(strategy, server_round, arrays)()
        seconds.append(time.perf_counter() - start)
        arrays = judged.arrays or arrays
    return seconds[1:]


class foreign_process:  # noqa: N801 (used as a function)
    """Keep one core busy with something else."""

    def __enter__(self) -> None:
        """Start it."""
        self._process = multiprocessing.get_context("spawn").Process(target=_spin, daemon=True)
        self._process.start()
        time.sleep(1.0)

    def __exit__(self, *error: object) -> None:
        """End it."""
        self._process.kill()
        self._process.join()


def _spin() -> None:
    while True:
        pass


def called_client(config: RunConfig, partition: int) -> NumPyClient:
    """Return a client that has everything to train with, and only tells when it was called."""
    build_client(config, partition)
    return IdleClient()


def seconds_to_first_client(pool: CohortPool, dataset: Path, seed: int) -> float:
    """Return the seconds from the start of a run until its clients, ready to train, are called."""
    config = configuration(dataset, rounds=1, run={"seed": seed})
    start = time.time()
    folder = RunFolder.create(config)
    run_federation(CohortFleet(config, Sweep(pool), make_client=called_client), config, folder, Unseen())
    return float(folder.rounds()[1]["metrics"]["called"]) - start


def report(seconds: Mapping[str, list[float]], examples: int, out: Path | None) -> None:
    """Print what was measured, and the goals."""
    median = {name: float(np.median(of_one)) for name, of_one in seconds.items()}
    about = {
        "10 idle": f"10 clients that do nothing, {SMALL:,} parameters",
        "100 idle": f"100 clients that do nothing, {SMALL:,} parameters",
        "10 idle, large": f"10 clients that do nothing, {LARGE:,} parameters",
        "10 trained": f"10 LeNet-5 clients of {examples // 100:,} images",
        "100 trained": f"100 LeNet-5 clients of {examples // 100:,} images",
        "quiet": f"10 LeNet-5 clients of {examples // 10:,} images",
        "busy": "the same, with a foreign busy process",
        "second run": "second run of a sweep until its clients are called",
    }
    rows = [("seconds", "median", "lowest to highest")]
    rows += [(about[name], f"{median[name]:.4g} s", spread(of_one)) for name, of_one in seconds.items()]
    goals = [
        ("goal", "measured", "reached"),
        _goal("cost of a client that does nothing, small", 100 * median["10 idle"], 0.5, "ms"),
        _goal("cost of a client that does nothing, large", 100 * median["10 idle, large"], 10.0, "ms"),
        _goal("from 10 to 100 clients that do nothing", median["100 idle"] / median["10 idle"], 10.5, "x"),
        _goal("from 10 to 100 trained clients", median["100 trained"] / median["10 trained"], 10.5, "x"),
        _goal("second run until its first client trains", median["second run"], 0.3, "s"),
        _goal("a round with a foreign busy process / quiet", median["busy"] / median["quiet"], 2.0, "x"),
    ]
    print_rows(rows)
    print()
    print_rows(goals)
    write_results(out, "overhead", [rows, goals], {"seconds": dict(seconds), "medians": median})


def _goal(what: str, measured: float, highest: float, unit: str) -> tuple[str, str, str]:
    return f"{what} <= {highest:g} {unit}", f"{measured:.3g} {unit}", "yes" if measured <= highest else "no"


if __name__ == "__main__":
    main()
