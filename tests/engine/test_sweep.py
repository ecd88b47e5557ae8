"""Runs in threads of their own come to their rounds together."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fedsec.engine.pool import Request, Trained
from fedsec.engine.sweep import Sweep
from tests.engine.crews import maker, request_of

PATIENCE = 20.0


class WatchedPool:
    """Answers at once; keeps which requests came together."""

    def __init__(self, fails: Callable[[int], bool] = lambda call: False) -> None:
        self.together: list[list[Request]] = []
        self.fails = fails

    def train(self, requests: Sequence[Request]) -> list[Trained]:
        self.together.append(list(requests))
        if self.fails(len(self.together)):
            raise RuntimeError("the workers are gone")
        return [Trained([], request.workloads) for request in requests]  # type: ignore[arg-type]


def request(run: int, server_round: int) -> Request:
    return request_of(maker(), [run], timeout=float(server_round))


def do_runs(sweep: Sweep, rounds: Sequence[int]) -> list[Any]:
    """Do runs of so many rounds, each in a thread; return what each got or what it failed with."""

    def run(place: int) -> list[Any]:
        try:
            return [sweep.train(place, request(place, number)).rows for number in range(1, rounds[place] + 1)]
        finally:
            sweep.leave()

    with ThreadPoolExecutor(len(rounds)) as threads:
        futures = [threads.submit(run, place) for place in range(len(rounds))]
        return [future.exception(PATIENCE) or future.result() for future in futures]


def test_a_single_run_waits_for_nobody() -> None:
    pool = WatchedPool()
    assert do_runs(Sweep(pool), [3]) == [[{0: 10}] * 3]  # type: ignore[arg-type]
    assert [len(requests) for requests in pool.together] == [1, 1, 1]


@pytest.mark.parametrize("rounds", [[3, 3, 3], [1, 4, 2], [0, 2], [5, 0, 0, 1]])
def test_runs_are_in_step_and_each_gets_its_own(rounds: list[int]) -> None:
    pool = WatchedPool()
    got = do_runs(Sweep(pool, len(rounds)), rounds)  # type: ignore[arg-type]
    assert got == [[{place: 10 + place}] * number for place, number in enumerate(rounds)]
    for number, requests in enumerate(pool.together, start=1):
        assert {request.timeout for request in requests} == {float(number)}
        still_running = [place for place, last in enumerate(rounds) if last >= number]
        assert [next(iter(request.workloads)) for request in requests] == still_running


def test_a_run_that_fails_does_not_keep_the_others_waiting() -> None:
    pool = WatchedPool()
    sweep = Sweep(pool, 2)  # type: ignore[arg-type]
    failed = threading.Event()

    def fails() -> None:
        failed.wait(PATIENCE)
        sweep.leave()

    with ThreadPoolExecutor(2) as threads:
        going_on = threads.submit(sweep.train, 1, request(1, 1))
        threads.submit(fails)
        assert not going_on.done()
        failed.set()
        assert going_on.result(PATIENCE).rows == {1: 11}


def test_what_the_pool_raises_is_raised_in_every_run_that_waits_for_it() -> None:
    pool = WatchedPool(fails=lambda call: call == 2)
    first, second, short = do_runs(Sweep(pool, 3), [3, 3, 1])  # type: ignore[arg-type]
    for failure in (first, second):
        assert isinstance(failure, RuntimeError)
        assert str(failure) == "the workers are gone"
    assert short == [{2: 12}]
