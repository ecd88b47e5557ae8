"""Meeting the nodes: whoever answers nonsense is refused, and the run waits for the others."""

from collections.abc import Callable
from typing import Any

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedsec import nodes
from fedsec.clients import make_client_app
from fedsec.engine.local import FIRST_NODE, LocalGrid
from fedsec.nodes import FederationError, check_simulation, meet
from fedsec.scenario import code_hash

Answer = Callable[[int], dict[str, Any] | None]


def grid_of(answer: Answer, count: int = 4) -> LocalGrid:
    """Return nodes that answer ``answer(partition)`` when they are asked who they are; ``None`` raises."""

    def describe(context: Context) -> dict[str, Any]:
        found = answer(int(context.node_config["partition-id"]))
        if found is None:
            raise RuntimeError("out of order")
        return found

    return LocalGrid(make_client_app(lambda context: None, describe), count)  # type: ignore[arg-type, return-value]


def sane(partition: int) -> dict[str, Any]:
    return {"partition-id": partition, "code": code_hash(), "version": "1", "class-counts": [partition, 5]}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "POLL_SECONDS", 0.01)


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


def test_a_node_that_answers_without_saying_who_it_is_is_refused() -> None:
    app = ClientApp()

    @app.query("whoami")
    def whoami(message: Message, context: Context) -> Message:
        return Message(RecordDict({"other": ConfigRecord()}), reply_to=message)

    with pytest.raises(FederationError, match="no node can be used"):
        meet(LocalGrid(app, 2), 2, 60.0, lambda text: None)


def test_only_a_simulation_is_known_to_be_complete() -> None:
    check_simulation(grid_of(sane, 2), 4)
