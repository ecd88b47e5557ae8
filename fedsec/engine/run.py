"""Runs from their configurations to their summaries, on the engine of choice."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, NamedTuple

from flwr.serverapp import Grid
from threadpoolctl import threadpool_limits

from fedsec.client_app import build_client_app
from fedsec.engine.local import run_local
from fedsec.engine.simulation import run_on_ray
from fedsec.federation import run_federation
from fedsec.fleet import GridFleet
from fedsec.observer import Observer
from fedsec.runs.config import RunConfig
from fedsec.runs.record import RunFolder

EngineName = Literal["ray", "cohort", "local"]
Summary = dict[str, Any]


class Job(NamedTuple):
    """A run to do: a configuration that was checked, where it is recorded, and who is told how it goes."""

    config: RunConfig
    folder: RunFolder
    observer: Observer


Execute = Callable[[Sequence[Job]], list[Summary]]
"""Does runs, each from its checkpoint if its folder has one; returns their summaries."""


def execute(config: RunConfig, folder: RunFolder, observer: Observer, *, engine: EngineName = "ray") -> Summary:
    """Run the configuration, from its checkpoint if the folder has one; return the summary.

    Args:
        config: a configuration that was checked.
        folder: where the run is recorded.
        observer: is told how it goes.
        engine: ``"ray"``; ``"cohort"``, faster, for sweeps; ``"local"`` for tests.
    """
    with opened(engine, config.federation.device) as do:
        return do([Job(config, folder, observer)])[0]


@contextmanager
def opened(engine: EngineName, device: str = "auto") -> Iterator[Execute]:
    """Give a function that does runs, any number of times. The workers of ``"cohort"`` stay warm meanwhile.

    Engine ``"cohort"`` does the runs of one call at once, in step; the others do one after the other.

    Args:
        engine: see :func:`execute`.
        device: where the workers of ``"cohort"`` train: ``"auto"``, ``"cpu"`` or ``"cuda"``.
    """
    if engine != "cohort":
        yield lambda jobs: [job.folder.summary() or _on_grid(engine, job) for job in jobs]
        return
    from fedsec.engine.pool import CohortPool, ray_pool
    from fedsec.engine.sweep import Sweep

    def do(pool: CohortPool, jobs: Sequence[Job]) -> list[Summary]:
        unfinished = [job for job in jobs if job.folder.summary() is None]
        if unfinished:
            # Ray's processes die with the thread that started them, and that must not be the thread of a run.
            pool.start()
            sweep = Sweep(pool, len(unfinished))
            number = len(unfinished)
            # One thread for BLAS throughout: a defense that holds it to one, and lets go, would let go for all runs.
            with threadpool_limits(1, "blas"), ThreadPoolExecutor(number, thread_name_prefix="fedsec-run") as threads:
                list(threads.map(partial(_in_sweep, sweep), range(number), unfinished))
        return [job.folder.summary() or {} for job in jobs]

    with ray_pool(device) as pool:
        yield partial(do, pool)


def _on_grid(engine: EngineName, job: Job) -> Summary:
    config = job.config

    def serve(grid: Grid) -> Summary:
        return run_federation(GridFleet(grid, config, engine=engine, run=job.folder.name), *job)

    clients, number = build_client_app(config), config.federation.clients
    if engine == "local":
        return run_local(clients, number, serve)
    return run_on_ray(clients, number, serve, gpus_per_client=config.federation.gpus_per_client)


def _in_sweep(sweep: Any, place: int, job: Job) -> Summary:
    from fedsec.engine.cohort import CohortFleet

    try:
        return run_federation(CohortFleet(job.config, sweep, run=job.folder.name, place=place), *job)
    finally:
        sweep.leave()
