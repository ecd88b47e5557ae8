"""Rebuilding a class against client-level differential privacy by Flower's own wrapper.

``python -m benchmarks.flower_dp experiments/gan_reconstruction/defenses.toml --clips 0.3 1 --multipliers 0 0.05 0.2``

The clients are those of the file's first cell; clipping and noise are Flower's
(``DifferentialPrivacyServerSideFixedClipping``) around plain averaging, and the attack begins in the first round. The
noise on each weight of the average has the standard deviation multiplier times clip, divided by the number of clients.
Everything runs in this process.
"""

import argparse
import itertools
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping
from numpy.typing import NDArray

from fedsec.client_app import build_client_app
from fedsec.engine.local import run_local
from fedsec.federation import initial_arrays
from fedsec.measuring import measure_of
from fedsec.runs.config import RunConfig
from fedsec.runs.measures import MEASURES, REBUILT, rebuilt_over
from fedsec.runs.table import load_table
from fedsec.scenario import held_out
from fedsec.server_app import checked
from fedsec.strategies import RobustFedAvg

Row = dict[str, float]

AT_ONCE = 1e-6
"""An accuracy that every model has."""


def federate(config: RunConfig, clip: float, multiplier: float, folder: Path) -> Row:
    """Return MA after the last round of a federation with Flower's wrapper, and what was rebuilt in all of them.

    Args:
        config: whose clients they are; its defense is not used.
        clip: highest L2 norm of an update.
        multiplier: noise multiplier; 0 clips only.
        folder: of the run; its name is that under which clients keep their states.
    """
    test, clients = held_out(config), config.federation.clients
    measure = measure_of(config, test, folder)
    rounds: list[dict[str, Any]] = []

    def evaluate(server_round: int, record: ArrayRecord) -> MetricRecord:
        arrays: Mapping[str, NDArray[np.generic]] = {name: array.numpy() for name, array in record.items()}
        rounds.append({"BA": None, **measure(server_round, arrays)})
        return MetricRecord({"MA": rounds[-1]["MA"]})

    def serve(grid: Grid) -> None:
        # Ours and not Flower's FedAvg: every client weighs the same, as this privacy supposes, whatever it claims.
        strategy = DifferentialPrivacyServerSideFixedClipping(
            RobustFedAvg(fraction_evaluate=0.0, min_available_nodes=clients), multiplier, clip, clients
        )
        arrays = ArrayRecord({name: Array(np.asarray(array)) for name, array in initial_arrays(config, test).items()})
        told = ConfigRecord({"run": folder.name})
        strategy.start(grid, arrays, config.federation.rounds, train_config=told, evaluate_fn=evaluate)

    np.random.seed(config.run.seed)  # Flower draws its noise from this one
    run_local(build_client_app(config), clients, serve)
    return {"MA": rounds[-1]["MA"], **rebuilt_over(rounds)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--clips", type=float, nargs="+", default=[1.0], help="L2 norms, each with every multiplier")
    parser.add_argument("--multipliers", type=float, nargs="+", default=[0.0, 0.01, 0.1])
    chosen = parser.parse_args()
    table = load_table(chosen.file)
    config = table.config(next(table.cells()), table.seeds[0])
    # Flower's clipping divides by an update's norm and fails where that is 0, as the adversary's is before it begins.
    config = replace(config, attack=replace(config.attack, start_accuracy=AT_ONCE))
    checked(config)
    print(f"| clip | multiplier | {' | '.join(MEASURES[name].heading for name in ('MA', *REBUILT))} |")
    print("| --- " * (3 + len(REBUILT)) + "|")
    for clip, multiplier in itertools.product(chosen.clips, chosen.multipliers):
        with tempfile.TemporaryDirectory(prefix="flower-dp-") as folder:
            row = federate(config, clip, multiplier, Path(folder))
        numbers = " | ".join(f"{row[name]:.{MEASURES[name].digits}f}" for name in ("MA", *REBUILT))
        print(f"| {clip:g} | {multiplier:g} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
