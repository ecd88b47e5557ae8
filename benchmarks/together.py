"""Several runs of a table in common cohorts, against one run at a time. The command for a GPU.

``python -m benchmarks.together [--runs 25] [--examples 60000] [--rounds 4] [--device auto] [--out FOLDER]``
"""

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from benchmarks.clients import configuration, write_images
from benchmarks.measuring import environment, print_rows, spread, with_malloc_settings, write_results
from fedsec.data.datasets import load
from fedsec.engine.cohort import CohortFleet
from fedsec.engine.pool import CohortPool, ray_pool
from fedsec.engine.sweep import Sweep
from fedsec.federation import initial_arrays
from fedsec.runs.config import RunConfig
from fedsec.strategies import RobustFedAvg

GOAL = 20.0


def main() -> None:
    """Measure and print."""
    with_malloc_settings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=25)
    parser.add_argument("--examples", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ray_pool(options.device) as pool:
        os.environ |= {"FEDSEC_CACHE": f"{folder}/cache", "FEDSEC_RUNS": f"{folder}/runs"}
        dataset = write_images(Path(folder) / "images", options.examples)
        load(str(dataset), "train")
        federation = {"device": options.device}
        configs = [
            configuration(dataset, rounds=1, run={"seed": seed}, federation=federation) for seed in range(options.runs)
        ]
        pool.start()
        alone = [options.runs * seconds for seconds in rounds(pool, configs[:1], options.rounds)]
        together = rounds(pool, configs, options.rounds)
    gpu = torch.cuda.is_available() and options.device != "cpu"
    ratio = float(np.median(alone) / np.median(together))
    table = [
        (f"a round of {options.runs} runs of 10 LeNet-5 clients", "median", "lowest to highest"),
        ("one run after the other (one run, times their number)", f"{np.median(alone):.2f} s", spread(alone)),
        ("together", f"{np.median(together):.2f} s", spread(together)),
        (
            "gain",
            f"{ratio:.2f} x",
            f"goal >= {GOAL:g} x: {'yes' if ratio >= GOAL else 'no'}" if gpu else "no goal here",
        ),
    ]
    print(f"\n{options.examples // 10:,} images a client; {'GPU' if gpu else 'CPU'}; {environment()}\n")
    print_rows(table)
    write_results(options.out, "together", [table], {"alone": alone, "together": together, "gpu": gpu})


def rounds(pool: CohortPool, configs: Sequence[RunConfig], number: int) -> list[float]:
    """Return the seconds of each round of all these runs, the first one left out."""
    sweep = Sweep(pool, len(configs))
    fleets = [CohortFleet(config, sweep, place=place) for place, config in enumerate(configs)]
    for fleet in fleets:
        fleet.meet(lambda text: None, lambda clients: True)
    models = [initial_arrays(config, load(config.data.dataset, "test")) for config in configs]
    strategies = [RobustFedAvg() for _ in configs]
    seconds = []
    with ThreadPoolExecutor(len(configs)) as threads:
        for server_round in range(1, number + 1):
            start = time.perf_counter()

            def one_round(run: int, server_round: int = server_round) -> None:
                judged = fleets[run].train(strategies[run], server_round, models[run])()
                models[run] = judged.arrays or models[run]

            list(threads.map(one_round, range(len(configs))))
            seconds.append(time.perf_counter() - start)
    return seconds[1:]


if __name__ == "__main__":
    main()
