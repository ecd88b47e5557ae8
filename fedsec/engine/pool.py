"""A round's clients dealt out to the workers, and their updates collected, whatever becomes of a worker."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fedsec.defenses.updates import Matrix
from fedsec.engine.assignment import deal
from fedsec.engine.crew import Crew, RayCrew, WorkerDiedError
from fedsec.engine.rows import SharedRows
from fedsec.engine.worker import Answer, Done, MakeClient, Task
from fedsec.runs.config import RunConfig

Arrays = Mapping[str, NDArray[np.generic]]

DEATHS = 2
"""A task whose worker died so often is cut in two; a single client counts as one that kills its process."""


@dataclass(slots=True)
class Job:
    """What a worker has been given, how much work that is, and how many workers have died of it."""

    task: Task
    cost: float
    deaths: int = 0

    def halves(self) -> list["Job"]:
        """Return the job in two, each with one death to go."""
        seats = [seat for cohort in self.task.cohorts for seat in cohort]
        parts = (seats[: len(seats) // 2], seats[len(seats) // 2 :])
        return [Job(replace(self.task, cohorts=(tuple(part),)), self.cost / 2, DEATHS - 1) for part in parts]


class CohortPool:
    """Workers that stay warm from one run of a sweep to the next. They are started when they are first needed.

    Args:
        start: starts the workers.
    """

    def __init__(self, start: Callable[[], Crew]) -> None:
        self._start = start
        self._crew: Crew | None = None
        self._speeds: list[float | None] = []
        self._rows: SharedRows | None = None
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
        key = (config.data.dataset, config.model.name, federation.batch_size, federation.device, largest)
        if key not in self._measured:
            crew = self._started()
            calls = [crew.call(w, "measure", make_client, config, client, largest) for w in range(len(crew))]
            answers: list[Mapping[int, float]] = []
            for worker, call in enumerate(calls):
                try:
                    answers.append(crew.result(call))
                except WorkerDiedError:
                    crew.replace(worker)
            common = set(answers[0]).intersection(*answers) if answers else set()
            self._measured[key] = {size: sum(answer[size] for answer in answers) for size in sorted(common)} or {1: 1.0}
        return self._measured[key]

    def train(
        self, task: Task, costs: Sequence[float], sent: Arrays, width: int, timeout: float
    ) -> tuple[list[Answer], Matrix]:
        """Train the cohorts of a round; return the clients' answers, and the matrix with the row of each.

        A worker that dies is replaced and does its task again. A client of whom workers die is dropped.

        Args:
            task: all cohorts of the round; the seats' rows are 0 to n - 1.
            costs: work of each cohort.
            sent: the global model by name.
            width: d, the length of a row.
            timeout: seconds after which clients that have not answered are dropped.
        """
        crew, seats = self._started(), sum(len(cohort) for cohort in task.cohorts)
        rows = self._room_for(crew, seats, width)
        task = replace(task, rows=None if self._rows is None else self._rows.handle)
        hands = deal(costs, self._known_speeds())
        queues = [deque([_job(task, hand, costs)] if hand else []) for hand in hands]
        answers, finished = _Round(crew, queues, crew.share(sent), self._note_speed).collect(timeout)
        for answer in answers:
            if answer.row is not None:
                rows[answer.seat.row] = answer.row
        if not finished:
            # A worker that was ended may write for a moment yet: what is used of this round is out of its reach.
            rows = rows.copy()
            self._let_go()
        return sorted(answers, key=lambda answer: answer.seat.row), rows

    def _started(self) -> Crew:
        if self._crew is None:
            self._crew = self._start()
            self._speeds = [None] * len(self._crew)
        return self._crew

    def _room_for(self, crew: Crew, seats: int, width: int) -> Matrix:
        if self._rows is None or self._rows.handle.shape != (seats, width):
            self._let_go()
            try:
                self._rows = SharedRows((seats, width), crew.machine)
            except OSError:
                self._rows = None
        return np.empty((seats, width), np.float32) if self._rows is None else self._rows.rows

    def _let_go(self) -> None:
        if self._rows is not None:
            self._rows.close()
        self._rows = None

    def _known_speeds(self) -> list[float]:
        known = [speed for speed in self._speeds if speed is not None]
        usual = sum(known) / len(known) if known else 1.0
        return [usual if speed is None else speed for speed in self._speeds]

    def _note_speed(self, worker: int, speed: float) -> None:
        before = self._speeds[worker]
        self._speeds[worker] = speed if before is None else (before + speed) / 2


def _job(task: Task, hand: Sequence[int], costs: Sequence[float]) -> Job:
    cohorts = tuple(task.cohorts[index] for index in hand)
    return Job(replace(task, cohorts=cohorts), sum(costs[index] for index in hand))


class _Round:
    """The jobs of one round: one at a time at each worker, the next when it is done."""

    def __init__(
        self, crew: Crew, queues: list[deque[Job]], sent: Any, note_speed: Callable[[int, float], None]
    ) -> None:
        self.crew, self.queues, self.sent, self.note_speed = crew, queues, sent, note_speed
        self.calls: dict[Any, tuple[int, Job]] = {}
        self.answers: list[Answer] = []

    def collect(self, timeout: float) -> tuple[list[Answer], bool]:
        """Return every client's answer, and whether all workers finished in time."""
        deadline = time.monotonic() + timeout
        for worker in range(len(self.queues)):
            self._next(worker)
        while self.calls:
            finished = self.crew.wait(list(self.calls), max(0.0, deadline - time.monotonic()))
            if not finished:
                return self._give_up(), False
            for call in finished:
                self._take(call)
        return self.answers, True

    def _next(self, worker: int) -> None:
        if self.queues[worker]:
            job = self.queues[worker].popleft()
            self.calls[self.crew.call(worker, "train", job.task, self.sent)] = (worker, job)

    def _take(self, call: Any) -> None:
        worker, job = self.calls.pop(call)
        try:
            done: Done = self.crew.result(call)
        except WorkerDiedError:
            self.crew.replace(worker)
            self._again(worker, job)
        else:
            self.answers += done.answers
            if job.cost > 0 and done.seconds > 0:
                self.note_speed(worker, job.cost / done.seconds)
        self._next(worker)

    def _again(self, worker: int, job: Job) -> None:
        job.deaths += 1
        seats = [seat for cohort in job.task.cohorts for seat in cohort]
        if job.deaths < DEATHS:
            self.queues[worker].appendleft(job)
        elif len(seats) > 1:
            self.queues[worker].extendleft(reversed(job.halves()))
        else:
            self.answers.append(Answer(seats[0], None, f"its process died {job.deaths} times"))

    def _give_up(self) -> list[Answer]:
        late = [job for _, job in self.calls.values()] + [job for queue in self.queues for job in queue]
        for worker, _ in self.calls.values():
            self.crew.replace(worker)
        seats = [seat for job in late for cohort in job.task.cohorts for seat in cohort]
        return self.answers + [Answer(seat, None, "no answer") for seat in seats]


def ray_pool(device: str) -> CohortPool:
    """Return a pool of Ray actors."""
    return CohortPool(lambda: RayCrew(device))
