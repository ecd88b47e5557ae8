"""Before every round the server has its nodes, or knows which it does without."""

from collections.abc import Callable, Iterable

import pytest
from flwr.app import Message

from fedsec import roster
from fedsec.engine.local import FIRST_NODE, LocalGrid
from fedsec.nodes import FederationError
from fedsec.roster import Roster
from tests.grids import app_of, sane

NEW_NODE = 77


class ComingAndGoing(LocalGrid):
    """Nodes go when they are told to, and come back after so many looks, under another id if they are given one."""

    def __init__(self, count: int = 4) -> None:
        super().__init__(app_of(sane), count)
        self.looks, self.pushed = 0, 0
        self._away: list[tuple[int, int, int]] = []

    def leave(self, partition: int, *, looks: int = 10**9, back_as: int | None = None) -> None:
        node = next(n for n, c in self.contexts.items() if c.node_config["partition-id"] == partition)
        self._away.append((self.looks + looks, node, back_as or node))

    def get_node_ids(self) -> Iterable[int]:
        self.looks += 1
        for back, node, new in list(self._away):
            if self.looks > back:
                self._away.remove((back, node, new))
                self.contexts[new] = self.contexts.pop(node)
        away = {node for _, node, _ in self._away}
        return [node for node in self.contexts if node not in away]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        messages = list(messages)
        self.pushed += len(messages)
        return super().push_messages(messages)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster, "POLL_SECONDS", 0.001)


def met(grid: LocalGrid, timeout: float = 5.0) -> tuple[Roster, list[str]]:
    said: list[str] = []
    nodes = Roster(grid, 4, timeout, said.append)
    nodes.meet(lambda clients: True)
    return nodes, said


def at_least(count: int) -> Callable[[int], bool]:
    return lambda nodes: nodes >= count


def test_with_all_nodes_there_nothing_is_asked_or_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = ComingAndGoing(5)
    nodes, said = met(grid)
    monkeypatch.setattr(roster.time, "sleep", pytest.fail)
    looks, pushed = grid.looks, grid.pushed
    assert nodes.attend(pytest.fail) == ()
    assert (grid.looks - looks, grid.pushed - pushed, said) == (1, 0, [])


def test_a_node_that_comes_back_is_waited_for_and_asked_anew() -> None:
    grid = ComingAndGoing()
    nodes, said = met(grid)
    grid.leave(2, looks=5)
    assert nodes.attend(at_least(1)) == ()
    assert nodes.partition_of[FIRST_NODE + 2] == 2
    assert grid.pushed == 5
    assert said == ["partition 2 not connected; waiting up to 5 s", "partition 2 connected again"]


def test_a_node_that_comes_back_under_a_new_id_takes_its_partition() -> None:
    grid = ComingAndGoing()
    nodes, _ = met(grid)
    for partition in (0, 1):
        grid.leave(partition, looks=5, back_as=NEW_NODE + partition)
    assert nodes.attend(at_least(1)) == ()
    assert nodes.partition_of == {NEW_NODE: 0, NEW_NODE + 1: 1, FIRST_NODE + 2: 2, FIRST_NODE + 3: 3}


def test_a_spare_node_takes_the_partition_of_one_that_is_gone() -> None:
    grid = ComingAndGoing()
    grid.contexts[NEW_NODE] = grid.contexts[FIRST_NODE + 1]
    nodes, said = met(grid)
    assert said == [f"node {FIRST_NODE + 1} refused: partition 1 is taken"]  # nodes are asked in the order of their ids
    del grid.contexts[NEW_NODE]
    assert nodes.attend(at_least(4)) == ()
    assert nodes.partition_of[FIRST_NODE + 1] == 1
    assert grid.pushed == 5


def test_a_partition_that_stays_away_is_done_without_and_waited_for_once() -> None:
    grid = ComingAndGoing()
    nodes, said = met(grid, timeout=0.05)
    grid.leave(3)
    assert nodes.attend(at_least(3)) == (3,)
    assert said == [
        "partition 3 not connected; waiting up to 0.05 s",
        "partition 3 still not connected; the run goes on without",
    ]
    looks = grid.looks
    assert nodes.attend(at_least(3)) == (3,)
    assert (grid.looks, len(said)) == (looks + 1, 2)
    grid.leave(0, looks=5)
    assert nodes.attend(at_least(3)) == (3,)
    assert said[2:] == ["partitions 0, 3 not connected; waiting up to 0.05 s", "partition 0 connected again"]


def test_a_partition_that_was_given_up_takes_part_again_once_it_is_back() -> None:
    grid = ComingAndGoing()
    nodes, said = met(grid, timeout=0.05)
    grid.leave(3, looks=10**5)
    assert nodes.attend(at_least(3)) == (3,)
    grid._away.clear()
    assert nodes.attend(at_least(3)) == ()
    assert said[-1] == "partition 3 connected again"
    grid.leave(3, looks=5)
    assert nodes.attend(at_least(3)) == ()


def test_too_few_nodes_for_a_round_end_the_run_after_the_wait() -> None:
    grid = ComingAndGoing()
    nodes, _ = met(grid, timeout=0.05)
    for partition in (0, 1, 2):
        grid.leave(partition)
    with pytest.raises(FederationError) as refusal:
        nodes.attend(at_least(2))
    assert str(refusal.value) == (
        "too few for a round: 1 of 4 clients connected within 0.05 s (federation.node-timeout); "
        "missing partitions: [0, 1, 2]; go on with --resume"
    )


def test_those_that_were_given_up_are_waited_for_when_the_others_are_too_few() -> None:
    grid = ComingAndGoing()
    nodes, _ = met(grid, timeout=0.05)
    grid.leave(3)
    assert nodes.attend(at_least(3)) == (3,)
    grid.leave(2)
    with pytest.raises(FederationError, match=r"missing partitions: \[2, 3\]"):
        nodes.attend(at_least(3))


def test_when_all_nodes_go_away_the_round_waits_for_them() -> None:
    grid = ComingAndGoing(4)
    nodes, _ = met(grid, timeout=0.05)
    for partition in range(4):
        grid.leave(partition, looks=5)
    assert nodes.attend(at_least(1)) == ()


def test_a_run_starts_with_fewer_nodes_where_these_will_do() -> None:
    grid, said = ComingAndGoing(), list[str]()
    grid.leave(1)
    nodes = Roster(grid, 4, 0.05, said.append, min_clients=3)
    nodes.meet(at_least(3))
    assert said == ["partition 1 not connected; the run starts without"]
    assert nodes.attend(at_least(3)) == (1,)
    assert len(said) == 1


def test_a_run_does_not_start_with_fewer_than_will_do() -> None:
    grid = ComingAndGoing()
    for partition in (1, 2):
        grid.leave(partition)
    with pytest.raises(FederationError, match=r"2 of 4 clients connected .* missing partitions: \[1, 2\]"):
        Roster(grid, 4, 0.05, lambda text: None, min_clients=3).meet(at_least(3))


def test_a_run_that_waits_starts_when_the_last_node_comes() -> None:
    grid, said = ComingAndGoing(), list[str]()
    grid.leave(1, looks=60)
    nodes = Roster(grid, 4, 0.02, said.append, shortage="wait")
    nodes.meet(at_least(4))
    assert sorted(nodes.reports) == [0, 1, 2, 3]
    assert said
    assert said[0].endswith("missing partitions: [1]; waiting on")


def test_a_round_that_waits_begins_when_there_are_enough() -> None:
    grid, said = ComingAndGoing(), list[str]()
    nodes = Roster(grid, 4, 0.02, said.append, shortage="wait")
    nodes.meet(at_least(4))
    for partition in (0, 1, 2):
        grid.leave(partition, looks=60)
    assert nodes.attend(at_least(2)) == ()
    assert any(text.startswith("too few for a round: 1 of 4 clients") and "waiting on" in text for text in said)


def test_a_round_that_is_to_be_skipped_raises_nothing() -> None:
    grid = ComingAndGoing()
    nodes = Roster(grid, 4, 0.02, lambda text: None, shortage="skip")
    nodes.meet(at_least(4))
    for partition in (0, 1, 2):
        grid.leave(partition)
    assert nodes.attend(at_least(2)) == (0, 1, 2)


def test_a_node_whose_data_does_not_fit_is_refused_with_the_reason() -> None:
    grid, said = ComingAndGoing(), list[str]()
    nodes = Roster(
        grid, 4, 0.05, said.append, min_clients=3, objection=lambda report: "no" if report.partition == 2 else ""
    )
    nodes.meet(at_least(3))
    assert said[0] == f"node {FIRST_NODE + 2} refused: partition 2: no"
    assert sorted(nodes.reports) == [0, 1, 3]


class Slow(ComingAndGoing):
    """A node that answers who it is only after so many looks."""

    def __init__(self, slow: int, looks: int) -> None:
        super().__init__()
        self.slow, self.wait, self.held = slow, looks, dict[str, int]()

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        ready = []
        for key in message_ids:
            reply = self._replies.get(key)
            if reply is not None and reply.metadata.src_node_id == self.slow:
                self.held[key] = self.held.get(key, 0) + 1
                if self.held[key] <= self.wait:
                    continue
            ready.append(key)
        return super().pull_messages(ready)


@pytest.mark.parametrize(("looks", "missing"), [(5, ()), (10**9, (2,))], ids=["soon", "never"])
def test_a_node_that_is_back_is_heard_before_the_round_begins(
    looks: int, missing: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "HEAR_SECONDS", 0.3)
    grid = Slow(NEW_NODE, looks)
    nodes, _ = met(grid, timeout=0.05)
    grid.leave(2)
    assert nodes.attend(at_least(3)) == (2,)
    grid._away.clear()
    grid.contexts[NEW_NODE] = grid.contexts.pop(FIRST_NODE + 2)
    assert nodes.attend(at_least(3)) == missing
    before = grid.looks
    assert nodes.attend(at_least(3)) == missing
    assert grid.looks == before + 1  # it is not waited for again
