"""A round's clients dealt out to the workers, and their updates collected, whatever becomes of a worker."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fedsec.defenses.updates import Matrix
from fedsec.engine.assignment import cut_cohorts, cut_hand, deal
from fedsec.engine.crew import Crew, RayCrew, WorkerDiedError
from fedsec.engine.jobs import Job, PoolRound
from fedsec.engine.rows import SharedRows
from fedsec.engine.worker import Answer, MakeClient, RoundOfRun, Seat, Task
from fedsec.runs.config import RunConfig
from fedsec.runs.filling import FillingRecord

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Request:
    """What a run wants of the pool in one round.

    Attributes:
        run: what is the same for all of its clients; its ``rows`` are the pool's business.
        workloads: examples of each client of the round; they get the rows 0, 1, ... in this order.
        sent: the global model by name.
        width: d, the length of a row.
        cohort_size: most clients that are trained at once.
        timeout: seconds after which clients that have not answered are dropped.
    """

    run: RoundOfRun
    workloads: Mapping[int, int]
    sent: Arrays
    width: int
    cohort_size: int
    timeout: float


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of a run's clients: their answers by row, and the matrix (n, d) with their updates."""

    answers: list[Answer]
    rows: Matrix


class CohortPool:
    """Workers that stay warm from one run of a sweep to the next. They are started when they are first needed.

    The runs of a sweep, each in a thread of its own, may ask at once for the workers and for their rates.

    Args:
        start: starts the workers.
    """

    def __init__(self, start: Callable[[], Crew]) -> None:
        self._start = start
        self._lock = threading.RLock()
        self._crew: Crew | None = None
        self._speeds: list[float | None] = []
        self._rooms: list[SharedRows | None] = []
        self._measured: dict[tuple[Any, ...], Mapping[int, float]] = {}

    def __enter__(self) -> Self:
        """Return the pool."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the workers."""
        if self._crew is not None:
            self._crew.close()
        self._crew = None
        self._let_go()

    def start(self) -> None:
        """Start the workers, if they are not there yet."""
        self._started()

    @property
    def workers(self) -> int:
        """How many workers there are."""
        return len(self._started())

    def rates(self, make_client: MakeClient, config: RunConfig, client: int, largest: int) -> Mapping[int, float]:
        """Return the examples trained in a second by cohort size, all workers together; measured once a setting.

        Args:
            make_client: from the configuration and a partition to its client.
            config: the run's configuration.
            client: a partition that is typical.
            largest: most clients that a worker will be given.
        """
        federation = config.federation
        key = (make_client, config.data.dataset, config.model.name, federation.batch_size, federation.device, largest)
        with self._lock:
            if key not in self._measured:
                crew = self._started()
                calls = [crew.call(w, "measure", make_client, config, client, largest) for w in range(len(crew))]
                answers = [rates for rates in _measured(crew, calls, federation.round_timeout) if rates]
                common = set(answers[0]).intersection(*answers) if answers else set()
                rates_of_all = {size: sum(answer[size] for answer in answers) for size in sorted(common)}
                self._measured[key] = rates_of_all or {1: 1.0}
            return self._measured[key]

    def fill(self, config: RunConfig, clients: Sequence[int]) -> Iterator[tuple[int, FillingRecord | str]]:
        """Let clients fill their classes, one at a time in each worker; yield what came of each as soon as it has.

        Of several runs that ask, one after the other is served: what their clients have in common is made once.
        Clients that are not done within ``federation.balance-timeout`` are given up.
        """
        timeout = config.federation.balance_timeout
        with self._lock:
            crew, waiting = self._started(), deque(clients)
            calls: dict[Any, tuple[int, int]] = {}
            idle, deadline = deque(range(len(crew))), time.monotonic() + timeout
            while waiting or calls:
                while waiting and idle:
                    worker, client = idle.popleft(), waiting.popleft()
                    calls[crew.call(worker, "fill", config, client)] = (worker, client)
                finished = crew.wait(list(calls), max(0.0, deadline - time.monotonic()))
                if not finished:
                    for worker, _ in calls.values():
                        crew.replace(worker)
                    late = [client for _, client in calls.values()] + list(waiting)
                    yield from ((client, f"it was not done within {timeout:g} s") for client in late)
                    return
                for call in finished:
                    worker, client = calls.pop(call)
                    idle.append(worker)
                    try:
                        yield client, crew.result(call)
                    except WorkerDiedError:
                        crew.replace(worker)
                        yield client, "its process died"

    def train(self, requests: Sequence[Request]) -> list[Trained]:
        """Train the clients of a round, of one run or of several at once; return what came of each run's clients.

        A worker that dies is replaced and does its task again. A client of whom workers die is dropped.
        """
        crew = self._started()
        crew.settle()  # the time that a worker takes to start is not taken from the clients
        matrices = [self._room_for(crew, place, request) for place, request in enumerate(requests)]
        runs = tuple(
            replace(request.run, rows=None if room is None else room.handle)
            for request, room in zip(requests, self._rooms, strict=False)
        )
        workloads = {
            Seat(run, row, client): work
            for run, request in enumerate(requests)
            for row, (client, work) in enumerate(request.workloads.items())
        }
        cohorts = cut_cohorts(workloads, min(request.cohort_size for request in requests), len(crew))
        costs = [float(sum(workloads[seat] for seat in cohort)) for cohort in cohorts]
        queues = []
        for worker, hand in enumerate(deal(costs, self._known_speeds())):
            parts = cut_hand([costs[job] for job in hand], self._speeds[worker])
            tasks = [Task(runs, tuple(tuple(cohorts[hand[place]]) for place in part)) for part in parts]
            queues.append(
                deque(
                    Job(task, sum(costs[hand[place]] for place in part))
                    for task, part in zip(tasks, parts, strict=True)
                )
            )
        one_round = PoolRound(crew, queues, [crew.share(request.sent) for request in requests], self._note_speed)
        answers, finished = one_round.collect(min(request.timeout for request in requests))
        if not finished:
            # A worker that was ended may write for a moment yet: what is used of this round is out of its reach.
            matrices = [matrix.copy() for matrix in matrices]
            self._let_go()
        return [_of_run(run, answers, matrix) for run, matrix in enumerate(matrices)]

    def _started(self) -> Crew:
        with self._lock:
            if self._crew is None:
                self._crew = self._start()
                self._speeds = [None] * len(self._crew)
            return self._crew

    def _room_for(self, crew: Crew, place: int, request: Request) -> Matrix:
        """Return a matrix for a request, shared where that can be; the one of the last round where it fits."""
        shape = (len(request.workloads), request.width)
        self._rooms += [None] * (place + 1 - len(self._rooms))
        room = self._rooms[place]
        if room is None or room.handle.shape != shape:
            if room is not None:
                room.close()
            try:
                room = SharedRows(shape, crew.machine)
            except OSError:
                room = None
            self._rooms[place] = room
        return np.empty(shape, np.float32) if room is None else room.rows

    def _let_go(self) -> None:
        for room in self._rooms:
            if room is not None:
                room.close()
        self._rooms = []

    def _known_speeds(self) -> list[float]:
        known = [speed for speed in self._speeds if speed is not None]
        usual = sum(known) / len(known) if known else 1.0
        return [usual if speed is None else speed for speed in self._speeds]

    def _note_speed(self, worker: int, speed: float) -> None:
        before = self._speeds[worker]
        self._speeds[worker] = speed if before is None else (before + speed) / 2


def _measured(crew: Crew, calls: Sequence[Any], timeout: float) -> list[Mapping[int, float]]:
    """Return what each worker has measured; nothing where it died of it, or was not done in time."""
    deadline = time.monotonic() + timeout
    rates: list[Mapping[int, float]] = [{} for _ in calls]
    waiting = {call: worker for worker, call in enumerate(calls)}
    while waiting:
        finished = crew.wait(list(waiting), max(0.0, deadline - time.monotonic()))
        for call in finished or list(waiting):
            worker = waiting.pop(call)
            try:
                if finished:
                    rates[worker] = crew.result(call)
                    continue
            except WorkerDiedError:
                pass
            crew.replace(worker)
    return rates


def _of_run(run: int, answers: Sequence[Answer], rows: Matrix) -> Trained:
    """Return one run's answers, and its matrix with what did not come through shared memory."""
    mine = sorted((answer for answer in answers if answer.seat.run == run), key=lambda answer: answer.seat.row)
    for answer in mine:
        if answer.row is not None:
            rows[answer.seat.row] = answer.row
    return Trained(mine, rows)


def ray_pool(device: str) -> CohortPool:
    """Return a pool of Ray actors."""
    return CohortPool(lambda: RayCrew(device))
