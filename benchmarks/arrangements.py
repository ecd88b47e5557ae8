"""The same clients trained by different machinery."""

import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.clientapp import ClientApp
from flwr.common import NDArrays
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

from benchmarks.clients import UsualClient
from fedsec.client_app import build_client
from fedsec.clients import make_client_app
from fedsec.data.datasets import load
from fedsec.engine.run import EngineName, execute
from fedsec.federation import initial_arrays
from fedsec.runs.config import RunConfig
from fedsec.runs.filling import FillingRecord
from fedsec.runs.record import RunFolder
from fedsec.runs.rounds import RoundRecord


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Machinery that trains clients.

    Attributes:
        rounds: returns the seconds of each round of a configuration, from sending the model to the new one.
        tuned: whether it has fedsec's memory settings.
    """

    rounds: Callable[[RunConfig], list[float]]
    tuned: bool


class Unseen:
    """Shows nothing."""

    def started(self, config: RunConfig, folder: RunFolder, first_round: int) -> None:
        """Show nothing."""

    def noticed(self, text: str) -> None:
        """Show nothing."""

    def filled(self, record: FillingRecord, done: int, clients: int) -> None:
        """Show nothing."""

    def finished_round(self, record: RoundRecord) -> None:
        """Show nothing."""


def with_usual_clients(config: RunConfig) -> list[float]:
    """Flower's simulation as it comes, with clients as they are usually written."""
    return _flower(config, make_client_app(lambda context: UsualClient(config, _partition(context))))


def with_our_clients(config: RunConfig) -> list[float]:
    """Flower's simulation as it comes, with fedsec's clients."""
    return _flower(config, make_client_app(lambda context: build_client(config, _partition(context))))


def on_engine(engine: EngineName) -> Callable[[RunConfig], list[float]]:
    """Return a run on an engine of fedsec, by its own record."""

    def rounds(config: RunConfig) -> list[float]:
        folder = RunFolder.create(config)
        execute(config, folder, Unseen(), engine=engine)
        seconds = [record["seconds"] for record in folder.rounds()[1:]]
        return [stage["train"] + stage["aggregate"] for stage in seconds]

    return rounds


def loop_in(processes: int) -> Callable[[RunConfig], list[float]]:
    """Return a plain loop over fedsec's clients in so many processes; 1 is this one."""

    def rounds(config: RunConfig) -> list[float]:
        arrays = list(initial_arrays(config, load(config.data.dataset, "test")).values())
        seconds = []
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            for server_round in range(1, config.federation.rounds + 1):
                start = time.perf_counter()
                tasks = [(config, client, arrays, server_round) for client in range(config.federation.clients)]
                updates = pool.starmap(_train_one, tasks, chunksize=1)
                arrays = [np.mean(parts, axis=0, dtype=np.float32) for parts in zip(*updates, strict=True)]
                seconds.append(time.perf_counter() - start)
        return seconds

    return rounds


ARRANGEMENTS = {
    "Flower as shipped": Arrangement(with_usual_clients, tuned=False),
    "Flower as shipped, fedsec's clients": Arrangement(with_our_clients, tuned=False),
    "sequential loop": Arrangement(loop_in(1), tuned=True),
    "plain loop, a process a core": Arrangement(loop_in(os.cpu_count() or 1), tuned=True),
    "engine ray": Arrangement(on_engine("ray"), tuned=True),
    "engine cohort": Arrangement(on_engine("cohort"), tuned=True),
}


def _flower(config: RunConfig, client_app: ClientApp) -> list[float]:
    """Return the seconds of each round of Flower's FedAvg in Flower's simulation, everything at its defaults."""
    arrays = initial_arrays(config, load(config.data.dataset, "test"))
    strategy = _Timed(fraction_evaluate=0.0)
    server_app = ServerApp()

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        strategy.start(grid, ArrayRecord(list(arrays.values())), num_rounds=config.federation.rounds)

    run_simulation(server_app, client_app, num_supernodes=config.federation.clients)
    return strategy.seconds


class _Timed(FedAvg):
    """FedAvg that notes how long its rounds take."""

    def __init__(self, **options: float) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.seconds: list[float] = []

    def configure_train(self, *arguments, **keywords):  # type: ignore[no-untyped-def]
        self._began = time.perf_counter()
        return super().configure_train(*arguments, **keywords)

    def aggregate_train(self, *arguments, **keywords):  # type: ignore[no-untyped-def]
        answer = super().aggregate_train(*arguments, **keywords)
        self.seconds.append(time.perf_counter() - self._began)
        return answer


def _partition(context: Context) -> int:
    return int(context.node_config["partition-id"])


def _train_one(config: RunConfig, client: int, arrays: NDArrays, server_round: int) -> NDArrays:
    return build_client(config, client).fit(arrays, {"server-round": server_round})[0]
