"""Runs of a sweep that go on at once, in step: the clients of all of them are trained in common cohorts."""

import threading
from dataclasses import dataclass

from fedsec.engine.pool import CohortPool, Request, Trained


@dataclass(slots=True)
class _Call:
    """A run that waits for its clients."""

    place: int
    request: Request
    trained: Trained | None = None
    error: BaseException | None = None


class Sweep:
    """Collects what the runs want until all of them wait, and then lets the pool do it at once.

    Each run goes on in a thread of its own, and calls :meth:`leave` at its end.

    Args:
        pool: the workers.
        runs: how many runs there are.
    """

    def __init__(self, pool: CohortPool, runs: int = 1) -> None:
        self.pool, self.runs = pool, runs
        self._waiting: list[_Call] = []
        self._condition = threading.Condition()

    def train(self, place: int, request: Request) -> Trained:
        """Return what came of the clients of a run's round, once all runs have come to their rounds.

        Args:
            place: which of the runs it is; the same runs give the same cohorts, whoever comes first.
            request: what the run wants.
        """
        call = _Call(place, request)
        with self._condition:
            self._waiting.append(call)
            self._go_if_all_wait()
            self._condition.wait_for(lambda: call.trained is not None or call.error is not None)
        if call.trained is None:
            raise call.error or RuntimeError("the pool gave no answer")
        return call.trained

    def leave(self) -> None:
        """Go on without a run that has come to its end."""
        with self._condition:
            self.runs -= 1
            self._go_if_all_wait()

    def _go_if_all_wait(self) -> None:
        if not self._waiting or len(self._waiting) < self.runs:
            return
        calls, self._waiting = sorted(self._waiting, key=lambda call: call.place), []
        try:
            for call, trained in zip(calls, self.pool.train([call.request for call in calls]), strict=True):
                call.trained = trained
        except BaseException as error:  # raised again in the thread of each run
            for call in calls:
                call.error = error
        self._condition.notify_all()
