"""One run from its configuration to its summary, on the engine of choice."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol

from flwr.serverapp import Grid

from fedsec.client_app import build_client_app
from fedsec.engine.local import run_local
from fedsec.engine.simulation import run_on_ray
from fedsec.federation import Observer, run_federation
from fedsec.fleet import GridFleet
from fedsec.runs.config import RunConfig
from fedsec.runs.record import RunFolder

EngineName = Literal["ray", "cohort", "local"]


class Execute(Protocol):
    """Runs a configuration, from its checkpoint if the folder has one; returns the summary."""

    def __call__(self, config: RunConfig, folder: RunFolder, observer: Observer) -> dict[str, Any]:
        """Run it."""


def execute(config: RunConfig, folder: RunFolder, observer: Observer, *, engine: EngineName = "ray") -> dict[str, Any]:
    """Run the configuration, from its checkpoint if the folder has one; return the summary.

    Args:
        config: a configuration that was checked.
        folder: where the run is recorded.
        observer: is told how it goes.
        engine: ``"ray"``; ``"cohort"`` for sweeps; ``"local"`` for tests.
    """
    with opened(engine, config.federation.device) as run:
        return run(config, folder, observer)


@contextmanager
def opened(engine: EngineName, device: str = "auto") -> Iterator[Execute]:
    """Give a function that runs one configuration after the other. The workers of ``"cohort"`` stay warm meanwhile.

    Args:
        engine: see :func:`execute`.
        device: where the workers of ``"cohort"`` train: ``"auto"``, ``"cpu"`` or ``"cuda"``.
    """
    if engine == "cohort":
        from fedsec.engine.cohort import CohortFleet
        from fedsec.engine.pool import ray_pool

        with ray_pool(device) as pool:
            yield (
                lambda config, folder, observer: (
                    folder.summary() or run_federation(CohortFleet(config, pool), config, folder, observer)
                )
            )
        return

    def run(config: RunConfig, folder: RunFolder, observer: Observer) -> dict[str, Any]:
        finished = folder.summary()
        if finished is not None:
            return finished

        def serve(grid: Grid) -> dict[str, Any]:
            return run_federation(GridFleet(grid, config, engine=engine), config, folder, observer)

        clients, number = build_client_app(config), config.federation.clients
        if engine == "local":
            return run_local(clients, number, serve)
        return run_on_ray(clients, number, serve, gpus_per_client=config.federation.gpus_per_client)

    yield run
