"""Every client is trained once, by a worker who has the time."""

import itertools
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from fedsec.engine.assignment import cut_cohorts, cut_hand, deal

workloads = st.dictionaries(st.integers(0, 300), st.integers(0, 5000), max_size=60)
sizes, crews = st.integers(1, 12), st.integers(1, 9)
jobs = st.lists(st.integers(0, 100).map(float), max_size=7)


@given(workloads, sizes, crews)
def test_every_client_is_in_one_cohort_of_at_most_the_size(of: dict[int, int], size: int, workers: int) -> None:
    cohorts = cut_cohorts(of, size, workers)
    assert sorted(itertools.chain(*cohorts)) == sorted(of)
    assert all(1 <= len(cohort) <= size for cohort in cohorts)


@given(workloads, sizes, crews)
def test_cohorts_are_alike_in_size_and_as_few_as_keep_all_workers_busy(
    of: dict[int, int], size: int, workers: int
) -> None:
    cohorts = cut_cohorts(of, size, workers)
    lengths = [len(cohort) for cohort in cohorts]
    assert max(lengths, default=0) - min(lengths, default=0) <= 1
    if len(cohorts) < len(of):
        assert len(cohorts) % workers == 0
        assert (len(cohorts) - workers) * size < len(of)


@given(workloads, sizes, crews)
def test_the_longest_come_first_and_the_order_of_the_clients_changes_nothing(
    of: dict[int, int], size: int, workers: int
) -> None:
    cohorts = cut_cohorts(of, size, workers)
    lengths = [of[client] for client in itertools.chain(*cohorts)]
    assert lengths == sorted(lengths, reverse=True)
    assert cut_cohorts(dict(reversed(of.items())), size, workers) == cohorts


def test_cohorts_by_hand() -> None:
    of = {0: 10, 1: 30, 2: 20, 3: 30, 4: 0, 5: 5, 6: 7}
    assert cut_cohorts(of, 2, 2) == [[1, 3], [2, 0], [6], [5, 4]]
    assert cut_cohorts(of, 10, 2) == [[1, 3, 2, 0], [6, 5, 4]]
    assert cut_cohorts(of, 1, 4) == [[1], [3], [2], [0], [6], [5], [4]]
    assert cut_cohorts({}, 3, 2) == []


def slow_deal(costs: Sequence[float], speeds: Sequence[float]) -> list[list[int]]:
    """Go through the jobs, the longest first; try each worker and keep the one that ends first."""
    hands: list[list[int]] = [[] for _ in speeds]
    left = list(range(len(costs)))
    while left:
        job = next(job for job in left if costs[job] == max(costs[other] for other in left))
        left.remove(job)
        ends = [(sum(costs[j] for j in hand) + costs[job]) / speed for hand, speed in zip(hands, speeds, strict=True)]
        hands[ends.index(min(ends))].append(job)
    return hands


@given(jobs, st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=1, max_size=4))
def test_jobs_are_dealt_by_the_definition(costs: list[float], speeds: list[float]) -> None:
    assert deal(costs, speeds) == slow_deal(costs, speeds)


def longest(hands: Sequence[Sequence[int]], costs: Sequence[float], speeds: Sequence[float]) -> float:
    return max(sum(costs[job] for job in hand) / speed for hand, speed in zip(hands, speeds, strict=True))


def shortest_possible(costs: Sequence[float], speeds: Sequence[float]) -> float:
    """Return how long the best of all assignments takes."""
    workers = range(len(speeds))
    assignments = itertools.product(workers, repeat=len(costs))
    return min(
        longest([[j for j, w in enumerate(a) if w == mine] for mine in workers], costs, speeds) for a in assignments
    )


@given(jobs, st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=1, max_size=3))
@settings(max_examples=40)
def test_dealing_is_within_graham_s_bound_of_the_best(costs: list[float], speeds: list[float]) -> None:
    workers = len(speeds)
    # Graham 1969 for workers of one speed; Gonzalez, Ibarra and Sahni 1977 for others.
    bound = 4 / 3 - 1 / (3 * workers) if len(set(speeds)) == 1 else 2 - 2 / (workers + 1)
    assert longest(deal(costs, speeds), costs, speeds) <= bound * shortest_possible(costs, speeds) + 1e-9


def test_the_fast_worker_gets_more() -> None:
    assert deal([4.0, 3.0, 2.0, 1.0], [3.0, 1.0]) == [[0, 1, 3], [2]]
    assert deal([], [1.0, 1.0]) == [[], []]


@given(st.lists(st.floats(0.1, 1e4), min_size=1, max_size=30), st.none() | st.floats(1.0, 1e6))
def test_a_hand_is_cut_into_calls_in_order(costs: list[float], speed: float | None) -> None:
    calls = cut_hand(costs, speed)
    assert [job for call in calls for job in call] == list(range(len(costs)))
    assert all(calls)


def test_long_jobs_are_called_one_by_one_and_short_ones_at_once() -> None:
    assert cut_hand([10.0] * 4, None) == cut_hand([10.0] * 4, 1.0) == [[0], [1], [2], [3]]
    assert cut_hand([10.0] * 4, 1000.0) == [[0, 1, 2, 3]]
    assert cut_hand([], None) == cut_hand([], 10.0) == []
