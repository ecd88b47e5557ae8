"""Meeting the nodes: whoever answers nonsense is refused, and the run waits for the others."""

from collections.abc import Callable
from typing import Any

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedsec import nodes, roster
from fedsec.engine.local import FIRST_NODE, LocalGrid
from fedsec.nodes import FederationError, NodeReport, check_simulation
from fedsec.roster import Roster
from tests.grids import GrowingGrid, LosingGrid, SlowGrid, grid_of, sane


def meet(grid: LocalGrid, clients: int, timeout: float, notify: Callable[[str], None]) -> dict[int, NodeReport]:
    found = Roster(grid, clients, timeout, notify)
    found.meet(lambda clients: True)
    return found.reports


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(nodes, "SETTLE_SECONDS", 0.01)


def test_every_partition_finds_its_node() -> None:
    reports = meet(grid_of(sane), 4, 1.0, pytest.fail)
    assert {partition: report.node_id - FIRST_NODE for partition, report in reports.items()} == {i: i for i in range(4)}
    assert reports[3].class_counts == (3, 5)


def test_nodes_beyond_the_configuration_stay_idle() -> None:
    assert set(meet(grid_of(sane, 6), 4, 1.0, pytest.fail)) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"code": "other"}, "runs other code"),
        ({"partition-id": "one"}, "must be a number and a list"),
        ({"class-counts": "many"}, "must be a number and a list"),
        ({"class-counts": [-1, 2]}, "must be numbers of examples"),
        ({"class-counts": [0.5, 2.0]}, "must be numbers of examples"),
        ({"partition-id": 0}, "partition 0 is taken"),
        (None, "out of order"),
    ],
)
def test_a_node_that_makes_no_sense_is_refused_and_another_takes_its_place(
    answer: dict[str, Any] | None, reason: str
) -> None:
    def odd(partition: int) -> dict[str, Any] | None:
        if partition == 1:
            return None if answer is None else sane(1) | answer
        return sane(1 if partition == 4 else partition)

    refused: list[str] = []
    reports = meet(grid_of(odd, 5), 4, 5.0, refused.append)
    assert reports[1].node_id == FIRST_NODE + 4
    assert len(refused) == 1
    assert reason in refused[0]


def test_missing_clients_are_named_when_the_time_is_up() -> None:
    with pytest.raises(FederationError, match=r"2 of 4 clients connected within 0.1 s .*missing partitions: \[2, 3\]"):
        meet(grid_of(sane, 2), 4, 0.1, pytest.fail)


def test_if_no_node_can_be_used_the_run_ends_at_once() -> None:
    with pytest.raises(FederationError, match=r"no node can be used; node .* runs other code"):
        meet(grid_of(lambda partition: sane(partition) | {"code": "other"}), 4, 60.0, lambda text: None)


def test_nodes_with_other_partitions_that_connect_first_do_not_end_the_run() -> None:
    grid = GrowingGrid(lambda partition: sane(partition + 4 if partition < 4 else partition - 4), 8, first=4)
    assert set(meet(grid, 4, 5.0, pytest.fail)) == {0, 1, 2, 3}


def test_what_became_of_the_nodes_is_told_apart() -> None:
    def odd(partition: int) -> dict[str, Any] | None:
        return {0: sane(0), 1: sane(9), 2: sane(1) | {"code": "other"}}.get(partition, sane(partition))

    grid = SlowGrid(odd, 4, slow={3: 10**6})
    with pytest.raises(FederationError) as refusal:
        meet(grid, 4, 0.1, lambda text: None)
    text = str(refusal.value)
    assert text.startswith("1 of 4 clients connected within 0.1 s (federation.node-timeout); missing partitions: [1, ")
    assert "; 1 node did not answer in time; 1 node with partitions beyond 0 to 3; 1 node refused, such as: " in text
    assert text.count("\n") == 0


def test_a_slow_node_delays_nobody_and_its_answer_counts_when_it_comes() -> None:
    grid = SlowGrid(sane, 4, slow={1: 5})
    assert set(meet(grid, 4, 5.0, pytest.fail)) == {0, 1, 2, 3}
    assert grid.asked == 4


def test_a_node_that_does_not_answer_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster, "ASK_AGAIN_SECONDS", 0.05)
    grid = SlowGrid(sane, 4, slow={1: 10**6}, forgets=1)
    assert set(meet(grid, 4, 5.0, pytest.fail)) == {0, 1, 2, 3}
    assert grid.asked == 5


def test_a_lost_answer_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster, "ASK_AGAIN_SECONDS", 0.05)
    grid = LosingGrid(sane, 3)
    assert set(meet(grid, 3, 5.0, pytest.fail)) == {0, 1, 2}


def test_what_a_node_claims_is_cut_short_in_a_message() -> None:
    refused: list[str] = []
    with pytest.raises(FederationError):
        meet(
            grid_of(lambda partition: sane(partition) | {"code": "x" * 10**5, "version": "y" * 10**5}, 2),
            2,
            60.0,
            refused.append,
        )
    assert max(map(len, refused)) < 500


def test_a_node_that_answers_without_saying_who_it_is_is_refused() -> None:
    app = ClientApp()

    @app.query("whoami")
    def whoami(message: Message, context: Context) -> Message:
        return Message(RecordDict({"other": ConfigRecord()}), reply_to=message)

    with pytest.raises(FederationError, match="no node can be used"):
        meet(LocalGrid(app, 2), 2, 60.0, lambda text: None)


def test_only_a_simulation_is_known_to_be_complete() -> None:
    check_simulation(grid_of(sane, 2), 4)


def test_too_few_simulated_nodes_end_the_run_with_the_command_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "is_simulation", lambda grid: True)
    with pytest.raises(FederationError, match="the federation has 2 nodes and the configuration needs 4") as refusal:
        check_simulation(grid_of(sane, 2), 4)
    first, _, command = str(refusal.value).partition(": ")
    assert command == 'flwr run . --federation-config "num-supernodes=4 client-resources-num-cpus=1"'
    assert "--run-config" in first
    check_simulation(grid_of(sane, 4), 4)
