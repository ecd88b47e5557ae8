"""One run from its configuration to its summary, on the engine of choice."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from flwr.serverapp import Grid

from fedsec.client_app import build_client_app
from fedsec.engine.local import run_local
from fedsec.engine.simulation import run_on_ray
from fedsec.federation import Observer, run_federation
from fedsec.runs.config import RunConfig
from fedsec.runs.record import RunFolder

EngineName = Literal["ray", "local"]


def execute(config: RunConfig, folder: RunFolder, observer: Observer, *, engine: EngineName = "ray") -> dict[str, Any]:
    """Run the configuration, from its checkpoint if the folder has one; return the summary.

    Args:
        config: a configuration that was checked.
        folder: where the run is recorded.
        observer: is told how it goes.
        engine: ``"ray"``, or ``"local"`` for tests and small sweeps.
    """
    finished = folder.summary()
    if finished is not None:
        return finished
    clients = build_client_app(config)
    serve: Callable[[Grid], dict[str, Any]] = partial(
        _serve, config=config, folder=folder, observer=observer, engine=engine
    )
    if engine == "local":
        return run_local(clients, config.federation.clients, serve)
    return run_on_ray(clients, config.federation.clients, serve, gpus_per_client=config.federation.gpus_per_client)


def _serve(grid: Grid, config: RunConfig, folder: RunFolder, observer: Observer, engine: EngineName) -> dict[str, Any]:
    return run_federation(grid, config, folder, observer, engine=engine)
