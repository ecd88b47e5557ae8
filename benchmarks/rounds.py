"""A round on Ray against the same clients trained by a plain loop, in as many processes as there are cores.

``python -m benchmarks.rounds [--examples 60000] [--rounds 4]``
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import environment, print_rows, with_malloc_settings
from fedsec.client_app import build_client
from fedsec.data.datasets import load
from fedsec.engine.run import execute
from fedsec.federation import initial_arrays
from fedsec.runs.config import RunConfig
from fedsec.runs.loading import parse
from fedsec.runs.record import RoundRecord, RunFolder

Arrays = list[NDArray[np.generic]]


class Unseen:
    """Shows nothing."""

    def started(self, config: RunConfig, folder: RunFolder, first_round: int) -> None:
        """Show nothing."""

    def noticed(self, text: str) -> None:
        """Show nothing."""

    def finished_round(self, record: RoundRecord) -> None:
        """Show nothing."""


def main() -> None:
    """Measure and print."""
    with_malloc_settings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "FEDSEC_CACHE": f"{folder}/cache",
            "FEDSEC_RUNS": f"{folder}/runs",
            "FLWR_TELEMETRY_ENABLED": "0",
        }
        config = configuration(write_images(Path(folder) / "images", options.examples), options.rounds)
        load(config.data.dataset, "train")
        times: dict[str, list[float]] = {"plain": [], "ray": [], "total": []}
        for _ in range(2):  # in turn, so that a machine that slows down slows both
            times["plain"] += plain_rounds(config)
            trained, total = ray_rounds(config)
            times["ray"] += trained
            times["total"] += total
    medians = {name: float(np.median(seconds)) for name, seconds in times.items()}
    print(f"\n10 LeNet-5 clients, {options.examples // 10:,} images each, one epoch; {environment()}\n")
    spread = {name: f"{min(seconds):.2f} to {max(seconds):.2f} s" for name, seconds in times.items()}
    print_rows(
        [
            ("round", "median", "spread", "times the plain loop"),
            (f"plain loop, {cores()} processes", f"{medians['plain']:.2f} s", spread["plain"], "1.00"),
            ("Ray, training", f"{medians['ray']:.2f} s", spread["ray"], f"{medians['ray'] / medians['plain']:.2f}"),
            (
                "Ray, with aggregation and evaluation",
                f"{medians['total']:.2f} s",
                spread["total"],
                f"{medians['total'] / medians['plain']:.2f}",
            ),
        ]
    )


def configuration(dataset: Path, rounds: int) -> RunConfig:
    """Return a run of ten clients on ``dataset``."""
    tables: dict[str, Any] = {
        "run": {"name": "bench"},
        "data": {"dataset": str(dataset), "partition": "iid"},
        "federation": {"clients": 10, "rounds": rounds + 1, "local-epochs": 1, "batch-size": 64},
        "attack": {"kind": "none"},
        "defense": {"strategy": "fedavg"},
    }
    return parse(tables)


def write_images(folder: Path, examples: int) -> Path:
    """Write random images in MNIST's layout, and return their folder."""
    rng = np.random.default_rng(0)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)})
    folder.mkdir()
    for split, count in (("train", examples), ("test", 1000)):
        images = list(rng.integers(0, 256, (count, 28, 28), dtype=np.uint8))
        table = datasets.Dataset.from_dict({"image": images, "label": rng.integers(0, 10, count)}, features=features)
        table.to_parquet(folder / f"{split}.parquet")
    return folder


def plain_rounds(config: RunConfig) -> list[float]:
    """Return the seconds of each round but the first, its clients dealt to a process a core."""
    arrays = list(initial_arrays(config, load(config.data.dataset, "test")).values())
    clients = range(config.federation.clients)
    seconds = []
    with multiprocessing.get_context("spawn").Pool(cores()) as pool:
        for server_round in range(1, config.federation.rounds + 1):
            start = time.perf_counter()
            tasks = [(config, client, arrays, server_round) for client in clients]
            updates = pool.starmap(train_one, tasks, chunksize=1)
            arrays = [np.mean(parts, axis=0, dtype=np.float32) for parts in zip(*updates, strict=True)]
            seconds.append(time.perf_counter() - start)
    return seconds[1:]


def cores() -> int:
    """Return how many processes train at once: one a core, as Ray's actors do."""
    return os.cpu_count() or 1


def train_one(config: RunConfig, client: int, arrays: Arrays, server_round: int) -> Arrays:
    """Train one client of a round."""
    return build_client(config, client).fit(arrays, {"server-round": server_round})[0]


def ray_rounds(config: RunConfig) -> tuple[list[float], list[float]]:
    """Return the seconds of training, and of everything, of each round but the first."""
    folder = RunFolder.create(config)
    execute(config, folder, Unseen(), engine="ray")
    seconds = [record["seconds"] for record in folder.rounds()[2:]]
    return [stage["train"] for stage in seconds], [stage["total"] for stage in seconds]


if __name__ == "__main__":
    main()
