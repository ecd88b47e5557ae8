"""Ray actors as a crew of workers. Nothing else of the package imports Ray itself."""

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from fedsec.engine.simulation import ENVIRONMENT, MISSING, RayMissingError, ray_environment
from fedsec.engine.worker import Worker
from fedsec.nodes import FederationError

FORWARDED = ("FEDSEC_DATA", "FEDSEC_CACHE", "HF_HUB_OFFLINE")
"""What workers on a cluster that was there before must be told; those of our own inherit it."""

START_SECONDS = 180.0
"""How long the first workers may take to start."""

SETTLE_SECONDS = 60.0


class WorkerDiedError(RuntimeError):
    """The process of a worker ended before it answered."""


class Crew(Protocol):
    """Workers that are called by number, and answer later."""

    @property
    def machine(self) -> str:
        """Name of the machine that this process runs on, as its workers there know it."""

    def __len__(self) -> int:
        """Return how many workers there are."""

    def share(self, value: Any) -> Any:
        """Return what stands for ``value`` in calls, so that it is handed over once for all of them."""

    def call(self, worker: int, method: str, *arguments: Any) -> Any:
        """Call a method of a worker; return the call."""

    def wait(self, calls: Sequence[Any], timeout: float | None = None) -> list[Any]:
        """Return at least one finished call as soon as there is one; none after ``timeout`` seconds."""

    def result(self, call: Any) -> Any:
        """Return what a finished call returned, or raise what it raised.

        Raises:
            WorkerDiedError: its worker died.
        """

    def replace(self, worker: int) -> None:
        """End a worker, alive or not, and put a new one in its place."""

    def settle(self) -> None:
        """Wait until those who were put in the place of others can work."""

    def close(self) -> None:
        """End all workers."""


class RayCrew:
    """One actor a core, or one a GPU, on this machine or on the Ray cluster that ``RAY_ADDRESS`` names.

    Args:
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``; with GPUs there is a worker for each.

    Raises:
        RayMissingError: Ray is not installed.
        FederationError: the workers cannot be started.
    """

    def __init__(self, device: str) -> None:
        try:
            import ray
        except ImportError as error:
            raise RayMissingError(f"{MISSING.format('cohort')} ({error})") from None
        self._ray = ray
        self._owns_ray = not ray.is_initialized()
        if self._owns_ray:
            with ray_environment():
                # Without an address Ray would join a cluster that it finds on this machine, whoever started it.
                address = os.environ.get("RAY_ADDRESS") or "local"
                ray.init(address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        self.machine: str = ray.get_runtime_context().get_node_id()
        there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpus = 0 if device == "cpu" else int(there.get("GPU", 0))
        self._options: dict[str, Any] = {"num_cpus": 1, "num_gpus": 1 if gpus else 0, "max_restarts": 0}
        if os.environ.get("RAY_ADDRESS") or not self._owns_ray:
            self._options["runtime_env"] = {"env_vars": _forwarded()}
        self._new: dict[int, Any] = {}
        self._actors = [self._started() for _ in range(gpus or max(1, int(there.get("CPU", 1))))]
        try:
            self._await_start(there)
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        """Return how many workers there are."""
        return len(self._actors)

    def share(self, value: Any) -> Any:
        """Put ``value`` into Ray's object store; workers read its arrays there without a copy."""
        return self._ray.put(value)

    def call(self, worker: int, method: str, *arguments: Any) -> Any:
        """Call a method of a worker."""
        return getattr(self._actors[worker], method).remote(*arguments)

    def wait(self, calls: Sequence[Any], timeout: float | None = None) -> list[Any]:
        """Sleep until a call has finished."""
        finished: list[Any] = self._ray.wait(list(calls), num_returns=1, timeout=timeout)[0]
        return finished

    def result(self, call: Any) -> Any:
        """Return what a finished call returned; its arrays lie in Ray's object store."""
        died = self._ray.exceptions
        try:
            return self._ray.get(call)
        except (
            died.RayActorError,
            died.WorkerCrashedError,
            died.OutOfMemoryError,
            died.TaskCancelledError,  # a client that raises KeyboardInterrupt
        ) as error:
            raise WorkerDiedError(str(error)) from error

    def replace(self, worker: int) -> None:
        """Kill an actor and start another one."""
        self._ray.kill(self._actors[worker])
        self._actors[worker] = self._started()
        self._new[worker] = self._actors[worker].ready.remote()

    def settle(self) -> None:
        """Wait for new actors; for one that cannot be started no longer than :data:`SETTLE_SECONDS`."""
        if self._new:
            self._ray.wait(list(self._new.values()), num_returns=len(self._new), timeout=SETTLE_SECONDS)
            self._new.clear()

    def close(self) -> None:
        """Kill the actors; end Ray where it was started here."""
        for actor in self._actors:
            self._ray.kill(actor)
        if self._owns_ray:
            self._ray.shutdown()

    def _await_start(self, there: Mapping[str, float]) -> None:
        ready = [actor.ready.remote() for actor in self._actors]
        done, missing = self._ray.wait(ready, num_returns=len(ready), timeout=START_SECONDS)
        if missing:
            raise FederationError(
                f"{len(done)} of {len(ready)} workers of engine 'cohort' have started within {START_SECONDS:g} s; "
                f"they need {there.get('CPU', 0):g} cores of Ray, or {there.get('GPU', 0):g} GPUs, that are free"
            )
        try:
            self._ray.get(ready)
        except self._ray.exceptions.RayError as error:
            raise FederationError(f"the workers of engine 'cohort' cannot be started: {error}") from error

    def _started(self) -> Any:
        return self._ray.remote(_Actor).options(**self._options).remote()


class _Actor(Worker):
    """A worker that finds out by itself where it is."""

    def __init__(self) -> None:
        import ray

        super().__init__(ray.get_runtime_context().get_node_id())

    def ready(self) -> bool:
        """Answer once everything that training needs is imported."""
        return True


def _forwarded() -> Mapping[str, str]:
    settings = {key: os.environ[key] for key in FORWARDED if key in os.environ}
    return {key: value for key, value in ENVIRONMENT.items() if key.startswith("MALLOC_")} | settings
