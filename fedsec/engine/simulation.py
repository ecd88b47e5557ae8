"""Ray, through Flower's own simulation. Nothing else of the package needs Ray."""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TypeVar

from flwr.app import Context
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

Result = TypeVar("Result")

MISSING = "--engine: found '{}', and Ray is not installed; expected 'local', or Ray: pip install 'fedsec[simulation]'"

ENVIRONMENT = {
    # Without these, glibc gives a training step's buffers back to the kernel and faults them in again at the
    # next one: 1.25 to 1.42 times the time of a round.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
    # Ray's workers run at niceness 15 by default, and lose their core to whatever else runs.
    "RAY_worker_niceness": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""What Ray's processes are started with; a variable that is set already keeps its value."""


class RayMissingError(RuntimeError):
    """Ray is not installed."""


def require_ray(engine: str) -> None:
    """Raise :class:`RayMissingError` where Ray is not installed, without importing it: that takes seconds."""
    if find_spec("ray") is None:
        raise RayMissingError(MISSING.format(engine))


def run_on_ray(
    client_app: ClientApp, num_nodes: int, serve: Callable[[Grid], Result], *, gpus_per_client: float = 0.0
) -> Result:
    """Call ``serve`` with the Grid of a simulation of ``num_nodes`` nodes on Ray, and return what it returns.

    One actor a core, one torch thread each. Where Ray finds GPUs, every client gets ``gpus_per_client`` of one;
    0 shares them evenly among the actors.

    Raises:
        RayMissingError: Ray is not installed.
    """
    try:
        from flwr.simulation import run_simulation
        from flwr.simulation.ray_transport import ray_actor as _  # noqa: F401 (fails where Ray is missing)
    except ImportError as error:
        raise RayMissingError(f"{MISSING.format('ray')} ({error})") from None

    results: list[Result] = []
    failures: list[BaseException] = []
    server_app = ServerApp()

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        try:
            results.append(serve(grid))
        except BaseException as error:  # raised again below, in the caller's thread
            failures.append(error)

    with ray_environment(), warnings.catch_warnings():
        # run_simulation is deprecated in favour of `flwr run`, which cannot report progress to its caller.
        warnings.simplefilter("ignore")
        run_simulation(
            server_app,
            client_app,
            num_supernodes=num_nodes,
            backend_config={
                "client_resources": {"num_cpus": 1, "num_gpus": gpu_share(gpus_per_client)},
                "init_args": init_args(),
            },
        )
    if failures:
        raise failures[0]
    return results[0]


def init_args() -> dict[str, Any]:
    """Return how Ray is started: on its own, or in the cluster at ``$RAY_ADDRESS``.

    Without an address Ray would join a cluster that it finds on this machine, whoever started it.
    """
    address = os.environ.get("RAY_ADDRESS") or "local"
    return {"address": address, "include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}


def gpu_share(wanted: float) -> float:
    """Return the share of a GPU for one client: ``wanted``, or an even share among one actor a core; 0 without GPUs."""
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus == 0:
        return 0.0
    return wanted or min(1.0, gpus / (os.cpu_count() or 1))


@contextmanager
def ray_environment() -> Iterator[None]:
    """Set :data:`ENVIRONMENT` where it is not set, for the processes that are started meanwhile."""
    added = {key: value for key, value in ENVIRONMENT.items() if key not in os.environ}
    before = dict(os.environ)
    os.environ.update(added)
    try:
        yield
    finally:
        for key in set(os.environ) - set(before):
            del os.environ[key]
        os.environ.update(before)
