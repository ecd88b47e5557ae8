"""Every client of a round has its answer and its row, wherever it was trained."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from fedsec.engine import pool as pool_module
from fedsec.engine.crew import WorkerDiedError
from fedsec.engine.pool import CohortPool
from fedsec.engine.worker import Done
from tests.engine.conftest import config
from tests.engine.crews import (
    EVERYBODY,
    Call,
    LocalCrew,
    good_rows,
    maker,
    raises,
    reasons,
    request_of,
    update_of,
)
from tests.strategies.toy import initial_arrays

EXPECTED = {client: update_of(client) for client in EVERYBODY}


@pytest.fixture
def crew() -> LocalCrew:
    return LocalCrew()


@pytest.fixture
def pool(crew: LocalCrew) -> Iterator[CohortPool]:
    with CohortPool(lambda: crew) as opened:
        yield opened


def cohorts_of(call: Call) -> list[list[int]]:
    return [[seat.client for seat in cohort] for cohort in call.arguments[0].cohorts]


@pytest.mark.parametrize("size", [1, 2, 3, 9, 100])
def test_every_client_has_its_answer_and_its_row(pool: CohortPool, crew: LocalCrew, size: int) -> None:
    [trained] = pool.train([request_of(maker(), cohort_size=size)])
    assert [answer.seat.client for answer in trained.answers] == list(EVERYBODY)
    assert [answer.seat.row for answer in trained.answers] == list(EVERYBODY)
    assert good_rows(trained) == EXPECTED
    cohorts = [cohort for call in crew.calls for cohort in cohorts_of(call)]
    assert sorted(itertools.chain(*cohorts)) == list(EVERYBODY)
    assert max(map(len, cohorts)) <= size
    assert {call.worker for call in crew.calls} == {0, 1}


def test_rows_follow_the_order_of_the_request(pool: CohortPool) -> None:
    [trained] = pool.train([request_of(maker(), [6, 1, 8])])
    assert [answer.seat.client for answer in trained.answers] == [6, 1, 8]
    assert good_rows(trained) == {client: EXPECTED[client] for client in (6, 1, 8)}


def test_a_round_of_nobody_and_clients_without_work(pool: CohortPool) -> None:
    [nobody] = pool.train([request_of(maker(), [])])
    assert (nobody.answers, nobody.rows.shape) == ([], (0, 16))
    [idle] = pool.train([request_of(maker(), workloads=dict.fromkeys(EVERYBODY, 0))])
    assert good_rows(idle) == EXPECTED


@pytest.mark.parametrize("machines", [("here", "elsewhere"), ("elsewhere", "elsewhere")])
def test_workers_of_other_machines_send_their_rows(machines: tuple[str, ...]) -> None:
    with CohortPool(lambda: LocalCrew(*machines)) as pool:
        assert [good_rows(pool.train([request_of(maker())])[0]) for _ in range(2)] == [EXPECTED] * 2


def test_without_shared_memory_rows_come_in_the_answers(
    pool: CohortPool, crew: LocalCrew, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(shape: tuple[int, int], machine: str) -> None:
        raise OSError("no memory")

    monkeypatch.setattr(pool_module, "SharedRows", refuse)
    assert [good_rows(pool.train([request_of(maker())])[0]) for _ in range(2)] == [EXPECTED] * 2
    assert {call.arguments[0].runs[0].rows for call in crew.calls} == {None}


def test_the_matrix_is_used_again_while_its_shape_is_the_same(pool: CohortPool, crew: LocalCrew) -> None:
    for clients in (EVERYBODY, EVERYBODY, EVERYBODY[:4], EVERYBODY):
        [trained] = pool.train([request_of(maker(), clients)])
        assert good_rows(trained) == {client: EXPECTED[client] for client in clients}
    handles = [call.arguments[0].runs[0].rows for call in crew.calls]
    assert len(set(handles)) == 3
    assert handles[:2] == handles[2:4]


def test_several_runs_are_trained_at_once_and_have_matrices_of_their_own(pool: CohortPool, crew: LocalCrew) -> None:
    doubled = {key: 2 * array for key, array in initial_arrays().items()}
    broken = maker({3: raises(OSError("no disk"))})
    requests = [
        request_of(maker(), [0, 2, 4]),
        request_of(maker(), sent=doubled, width=20, cohort_size=5),
        request_of(broken, [1, 3, 4]),
    ]
    requests[1] = replace(requests[1], run=replace(requests[1].run, batchnorm="included"))
    together = pool.train(requests)
    assert max(len(cohort) for call in crew.calls for cohort in cohorts_of(call)) == 2
    for request, trained in zip(requests, together, strict=True):
        with CohortPool(LocalCrew) as own:
            [alone] = own.train([request])
        assert good_rows(trained) == good_rows(alone)
        assert reasons(trained) == reasons(alone)
        assert [answer.admitted for answer in trained.answers] == [answer.admitted for answer in alone.answers]
    assert reasons(together[2]) == {3: "error 2: OSError: no disk"}


def test_a_run_that_ends_before_the_others_leaves_them_their_rows(pool: CohortPool) -> None:
    requests = [request_of(maker(), [0, 1]), request_of(maker(), [2, 3]), request_of(maker(), [4, 5, 6])]
    for going_on in (requests, requests[1:], requests[2:], requests):
        for request, trained in zip(going_on, pool.train(going_on), strict=True):
            assert good_rows(trained) == {client: EXPECTED[client] for client in request.workloads}


class UnevenCrew(LocalCrew):
    """Its workers train so many examples in a second, to go by what they tell."""

    speeds = (3000.0, 1000.0)

    def result(self, call: Call) -> Any:
        done: Done = super().result(call)
        work = sum(10 for cohort in call.arguments[0].cohorts for _ in cohort)
        return Done(done.answers, work / self.speeds[call.worker])


def test_faster_workers_get_more_from_the_second_round_on() -> None:
    crew = UnevenCrew()
    with CohortPool(lambda: crew) as pool:
        for _ in range(3):
            request = request_of(maker(), cohort_size=1, workloads=dict.fromkeys(range(8), 10))
            assert len(good_rows(pool.train([request])[0])) == 8
    shares = [len(cohorts_of(call)) for call in crew.calls]
    assert shares == [1] * 8 + [6, 2, 6, 2]


def test_workers_are_started_when_they_are_needed_and_ended_with_the_pool() -> None:
    started: list[LocalCrew] = []

    def start() -> LocalCrew:
        started.append(LocalCrew())
        return started[-1]

    with CohortPool(start) as pool:
        assert not started
        assert pool.workers == 2
        pool.train([request_of(maker())])
        assert [crew.closed for crew in started] == [False]
    assert [crew.closed for crew in started] == [True]


class MeasuringCrew(LocalCrew):
    """Its workers say that they have measured these rates; those that have none die of it."""

    rates: tuple[dict[int, float], ...] = ({1: 10.0, 2: 20.0}, {1: 100.0, 2: 200.0, 5: 500.0})

    def result(self, call: Call) -> Any:
        if not self.rates[call.worker]:
            raise WorkerDiedError("out of memory")
        return self.rates[call.worker]


def test_runs_that_begin_at_once_share_their_workers_and_what_was_measured() -> None:
    started: list[MeasuringCrew] = []

    def start() -> MeasuringCrew:
        started.append(MeasuringCrew())
        return started[-1]

    make = maker()
    with CohortPool(start) as pool, ThreadPoolExecutor(8) as threads:
        rates = list(threads.map(lambda _: pool.rates(make, config(), 0, 10), range(8)))
        assert list(threads.map(lambda _: pool.workers, range(8))) == [2] * 8
    assert rates == [{1: 110.0, 2: 220.0}] * 8
    assert [len(crew.calls) for crew in started] == [2]


def test_rates_are_those_of_all_workers_measured_once_for_a_setting() -> None:
    measuring, make = MeasuringCrew(), maker()
    with CohortPool(lambda: measuring) as own:
        assert own.rates(make, config(), 0, 10) == {1: 110.0, 2: 220.0}
        own.rates(make, config(run__seed=3, attack__kind="none"), 0, 10)
        assert len(measuring.calls) == 2
        own.rates(make, config(federation__batch_size=8), 0, 10)
        own.rates(make, config(), 0, 5)
        own.rates(maker(), config(), 0, 5)
        assert len(measuring.calls) == 8


@pytest.mark.parametrize(("rates", "known"), [(({}, {1: 10.0, 2: 20.0}), {1: 10.0, 2: 20.0}), (({}, {}), {1: 1.0})])
def test_workers_that_die_of_a_measurement_are_replaced(
    rates: tuple[dict[int, float], ...], known: dict[int, float]
) -> None:
    crew = MeasuringCrew()
    crew.rates = rates
    with CohortPool(lambda: crew) as pool:
        assert pool.rates(maker(), config(), 0, 10) == known
    assert sorted(crew.replaced) == [worker for worker, measured in enumerate(rates) if not measured]
