"""Workers that die, and clients that never return: nobody else loses anything."""

import itertools
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsec.engine.crew import WorkerDiedError
from fedsec.engine.pool import CohortPool, Trained
from fedsec.engine.worker import MakeClient
from tests.engine.crews import (
    EVERYBODY,
    KilledError,
    LocalCrew,
    StuckError,
    ToyClient,
    good_rows,
    maker,
    raises,
    reasons,
    request_of,
    update_of,
)

EXPECTED = {client: update_of(client) for client in EVERYBODY}
KILLED = "its process died 2 times"


def trained(make: MakeClient, *machines: str, size: int = 2) -> tuple[Trained, LocalCrew]:
    crew = LocalCrew(*machines)
    with CohortPool(lambda: crew) as pool:
        return pool.train([request_of(make, cohort_size=size)])[0], crew


def dying(times: dict[int, int]) -> MakeClient:
    """Return clients that kill their worker so many times, and then train."""
    left = Counter(times)

    def spoil(client: int) -> Callable[[Any], Any]:
        def kill_or_return(fitted: Any) -> Any:
            left[client] -= 1
            if left[client] >= 0:
                raise KilledError
            return fitted

        return kill_or_return

    return lambda config, client: ToyClient(client, spoil(client))


def without(*clients: int) -> dict[int, bytes]:
    return {client: row for client, row in EXPECTED.items() if client not in clients}


def seats(crew: LocalCrew) -> list[int]:
    return [sum(len(cohort) for cohort in call.arguments[0].cohorts) for call in crew.calls]


@pytest.mark.parametrize("machines", [(), ("elsewhere", "elsewhere")])
def test_the_work_of_a_worker_that_dies_is_done_again(machines: tuple[str, ...]) -> None:
    result, crew = trained(dying({4: 1}), *machines)
    assert good_rows(result) == EXPECTED
    assert len(crew.replaced) == 1
    again = [call.arguments[0].cohorts for call in crew.calls if isinstance(call.result, WorkerDiedError)]
    assert [call.arguments[0].cohorts for call in crew.calls].count(again[0]) == 2


def test_after_a_second_death_the_work_is_cut_in_two() -> None:
    result, crew = trained(dying({4: 2}), "here", size=9)
    assert good_rows(result) == EXPECTED
    assert crew.replaced == [0, 0]
    assert seats(crew) == [9, 9, 4, 5]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_work_that_is_cut_in_two_has_no_larger_cohorts(size: int) -> None:
    result, crew = trained(dying({4: 5}), "here", size=size)
    sizes = [max(len(cohort) for cohort in call.arguments[0].cohorts) for call in crew.calls]
    assert max(sizes) == size
    assert good_rows(result) | {4: EXPECTED[4]} == EXPECTED


def test_a_worker_that_is_new_is_waited_for_before_the_next_round() -> None:
    crew = LocalCrew()
    with CohortPool(lambda: crew) as pool:
        pool.train([request_of(maker({8: raises(StuckError())}))])
        assert (len(crew.replaced), crew.settled) == (1, 0)
        pool.train([request_of(maker())])
    assert crew.settled == 1


@pytest.mark.parametrize("size", [1, 3, 9])
def test_a_client_of_whom_workers_die_is_dropped_and_nobody_else(size: int) -> None:
    result, _ = trained(maker({4: raises(KilledError())}), size=size)
    assert reasons(result) == {4: KILLED}
    assert good_rows(result) == without(4)


@given(st.sets(st.sampled_from(EVERYBODY)), st.integers(1, 4), st.integers(1, 9))
@settings(max_examples=40)
def test_any_clients_may_kill_their_workers(killers: Collection[int], workers: int, size: int) -> None:
    make = maker({client: raises(KilledError()) for client in killers})
    result, crew = trained(make, *["here", "elsewhere", "here", "here"][:workers], size=size)
    assert reasons(result) == dict.fromkeys(sorted(killers), KILLED)
    assert good_rows(result) == without(*killers)
    assert [answer.seat.client for answer in result.answers] == list(EVERYBODY)
    assert len(crew.replaced) <= 2 + 4 * len(EVERYBODY)


def test_a_client_that_does_not_return_takes_only_its_cohort_along() -> None:
    result, crew = trained(maker({8: raises(StuckError())}))
    [stuck] = [call for call in crew.calls if call.stuck]
    [cohort] = stuck.arguments[0].cohorts
    late = {seat.client for seat in cohort}
    assert 8 in late
    assert reasons(result) == dict.fromkeys(sorted(late), "no answer")
    assert good_rows(result) == without(*late)
    assert crew.replaced == [stuck.worker]


def test_what_waits_behind_a_client_that_does_not_return_is_done_by_others() -> None:
    result, _ = trained(maker({0: raises(StuckError())}), size=1)
    assert reasons(result) == {0: "no answer"}
    assert good_rows(result) == without(0)


def test_late_writers_reach_neither_this_round_nor_the_next() -> None:
    crew = LocalCrew()
    with CohortPool(lambda: crew) as pool:
        [first] = pool.train([request_of(maker({8: raises(StuckError())}))])
        good = good_rows(first)
        crew.write_late()
        assert good_rows(first) == good
        [second] = pool.train([request_of(maker())])
        crew.write_late()
        assert good_rows(second) == EXPECTED
        assert np.isfinite(second.rows).all()
    assert len(crew.late) > 0


def test_everybody_may_be_late() -> None:
    result, crew = trained(maker({client: raises(StuckError()) for client in EVERYBODY}))
    assert reasons(result) == dict.fromkeys(EVERYBODY, "no answer")
    assert sorted(crew.replaced) == [0, 1]


def test_one_may_kill_while_another_is_late() -> None:
    result, _ = trained(maker({0: raises(KilledError()), 8: raises(StuckError())}), "here", "here", "here", size=1)
    told = reasons(result)
    assert told[0] == KILLED
    assert told[8] == "no answer"
    assert good_rows(result) == without(*told)


def test_in_a_round_of_several_runs_only_the_killer_s_run_loses_it() -> None:
    crew = LocalCrew()
    with CohortPool(lambda: crew) as pool:
        results = pool.train([request_of(maker()), request_of(maker({4: raises(KilledError())})), request_of(maker())])
    assert [reasons(result) for result in results] == [{}, {4: KILLED}, {}]
    assert [good_rows(result) for result in results] == [EXPECTED, without(4), EXPECTED]


def test_the_deadline_is_that_of_the_most_impatient_run() -> None:
    asked: list[float | None] = []

    class Watched(LocalCrew):
        def wait(self, calls: Any, timeout: float | None = None) -> list[Any]:
            asked.append(timeout)
            return super().wait(calls, timeout)

    crew = Watched()
    with CohortPool(lambda: crew) as pool:
        pool.train([request_of(maker(), timeout=seconds) for seconds in (50.0, 20.0, 90.0)])
    assert 19.0 < max(seconds for seconds in asked if seconds is not None) <= 20.0
    assert all(later <= earlier for earlier, later in itertools.pairwise(filter(None, asked)))
