"""The jobs of one round at the workers of a pool, whatever becomes of a worker."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fedsec.engine.crew import Crew, WorkerDiedError
from fedsec.engine.worker import Answer, Done, Seat, Task

DEATHS = 2
"""A task whose worker died so often is cut in two; a single client counts as one that kills its process."""


@dataclass(slots=True)
class Job:
    """What a worker has been given, how much work that is, and how many workers have died of it."""

    task: Task
    cost: float
    deaths: int = 0

    @property
    def seats(self) -> list[Seat]:
        """The clients."""
        return [seat for cohort in self.task.cohorts for seat in cohort]

    def halves(self) -> list["Job"]:
        """Return the job in two, each with one death to go; no cohort becomes larger than it was."""
        cohorts = self.task.cohorts
        if len(cohorts) == 1:
            [alone] = cohorts
            cohorts = (alone[: len(alone) // 2], alone[len(alone) // 2 :])
        parts = (cohorts[: len(cohorts) // 2], cohorts[len(cohorts) // 2 :])
        return [Job(replace(self.task, cohorts=part), self.cost / 2, DEATHS - 1) for part in parts]


class PoolRound:
    """The jobs of one round: one at a time at each worker, the next when it is done.

    A worker that has done its own takes over what waits at another: behind a client that hangs, for instance.
    """

    def __init__(
        self, crew: Crew, queues: list[deque[Job]], sent: Sequence[Any], note_speed: Callable[[int, float], None]
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
        queue = self.queues[worker] or max(self.queues, key=lambda waiting: sum(job.cost for job in waiting))
        if queue:
            job = queue.popleft()
            self.calls[self.crew.call(worker, "train", job.task, *self.sent)] = (worker, job)

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
        if job.deaths < DEATHS:
            self.queues[worker].appendleft(job)
        elif len(job.seats) > 1:
            self.queues[worker].extendleft(reversed(job.halves()))
        else:
            self.answers.append(Answer(job.seats[0], None, f"its process died {job.deaths} times"))

    def _give_up(self) -> list[Answer]:
        late = [job for _, job in self.calls.values()] + [job for queue in self.queues for job in queue]
        for worker, _ in self.calls.values():
            self.crew.replace(worker)
        return self.answers + [Answer(seat, None, "no answer") for job in late for seat in job.seats]
