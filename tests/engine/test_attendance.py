"""Nodes that go away in the middle of a run: it waits, goes on without, or stops and can be gone on with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedsec import roster
from fedsec.client_app import build_client_app
from fedsec.engine.local import FIRST_NODE, LocalGrid
from fedsec.federation import run_federation
from fedsec.fleet import GridFleet
from fedsec.nodes import FederationError
from fedsec.runs.config import RunConfig
from fedsec.runs.filling import FillingRecord
from fedsec.runs.loading import parse
from fedsec.runs.record import RunFolder
from fedsec.runs.rounds import RoundRecord

ROUNDS = 3


class Hooked:
    """Does something after a round; keeps what it is told."""

    def __init__(self, after: Callable[[int], None]) -> None:
        self.after, self.notices = after, list[str]()

    def started(self, config: RunConfig, folder: RunFolder, first_round: int) -> None: ...

    def noticed(self, text: str) -> None:
        self.notices.append(text)

    def filled(self, record: FillingRecord, done: int, clients: int) -> None:
        pass

    def finished_round(self, record: RoundRecord) -> None:
        self.after(record.round)


def config(**federation: Any) -> RunConfig:
    federation = {"clients": 5, "rounds": ROUNDS, "local-epochs": 1, "batch-size": 64, "node-timeout": 0.2} | federation
    return parse({"federation": federation, "attack": {"kind": "none"}, "defense": {"strategy": "fedavg"}})


def run(configuration: RunConfig, folder: RunFolder, after: Callable[[int, LocalGrid], None]) -> tuple[Any, Hooked]:
    grid = LocalGrid(build_client_app(configuration), configuration.federation.clients)
    observer = Hooked(lambda server_round: after(server_round, grid))
    return run_federation(GridFleet(grid, configuration, engine="local"), configuration, folder, observer), observer


def untouched(server_round: int, grid: LocalGrid) -> None: ...


def gone_after_one(*partitions: int) -> Callable[[int, LocalGrid], None]:
    def after(server_round: int, grid: LocalGrid) -> None:
        if server_round == 1:
            for partition in partitions:
                del grid.contexts[FIRST_NODE + partition]

    return after


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster, "POLL_SECONDS", 0.01)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> str:
    folder = RunFolder.create(config(), tmp_path_factory.mktemp("reference"))
    return str(run(config(), folder, untouched)[0]["model_sha256"])


def test_a_node_that_comes_back_under_a_new_id_changes_no_number(runs: Path, reference: str) -> None:
    def renamed(server_round: int, grid: LocalGrid) -> None:
        grid.contexts[99 + server_round] = grid.contexts.pop(next(iter(grid.contexts)))

    folder = RunFolder.create(config())
    summary, _ = run(config(), folder, renamed)
    assert summary["model_sha256"] == reference
    assert summary["dropped"] == 0
    assert [len(record["clients"]) for record in folder.rounds()[1:]] == [5, 5, 5]


def test_a_node_that_stays_away_is_recorded_as_not_connected(runs: Path) -> None:
    folder = RunFolder.create(config())
    summary, observer = run(config(), folder, gone_after_one(1, 3))
    rounds = folder.rounds()[1:]
    absent = [{"node_id": partition, "reason": "not connected"} for partition in (1, 3)]
    assert [record["dropped"] for record in rounds] == [[], absent, absent]
    assert [[client["client"] for client in record["clients"]] for record in rounds[1:]] == [[0, 2, 4]] * 2
    assert summary["dropped"] == 4
    assert any("partitions 1, 3 still not connected; the run goes on without" in text for text in observer.notices)


@pytest.mark.parametrize(
    ("gone", "settings"),
    [((0, 1, 2, 3, 4), {}), ((0, 1), {"min-replies": 4}), ((0, 1, 2), {"min-replies": 2, "fraction": 0.6})],
    ids=["all", "fewer than min-replies", "a sample smaller than min-replies"],
)
def test_without_enough_nodes_the_run_stops_and_goes_on_to_the_same_model(
    runs: Path, reference: str, gone: tuple[int, ...], settings: dict[str, Any]
) -> None:
    configuration = config(**settings)
    folder = RunFolder.create(configuration)
    with pytest.raises(FederationError, match="too few for a round"):
        run(configuration, folder, gone_after_one(*gone))
    assert folder.summary() is None
    assert [record["round"] for record in folder.rounds()] == [0, 1]
    summary, _ = run(configuration, folder, untouched)
    assert summary["skipped"] == summary["dropped"] == 0
    assert summary["final"]["round"] == ROUNDS
    if "fraction" not in settings:
        assert summary["model_sha256"] == reference


def test_a_defense_that_cannot_judge_so_few_does_not_skip_the_rounds_that_are_left(runs: Path) -> None:
    tables: dict[str, Any] = {"federation": {"clients": 5, "rounds": 3, "local-epochs": 1, "node-timeout": 0.2}}
    configuration = parse(tables | {"attack": {"kind": "none"}, "defense": {"strategy": "krum", "num-malicious": 1}})
    folder = RunFolder.create(configuration)
    with pytest.raises(FederationError, match=r"4 of 5 clients connected .*missing partitions: \[2\]"):
        run(configuration, folder, gone_after_one(2))
    assert len(folder.rounds()) == 2


def test_a_round_with_too_few_nodes_is_skipped_where_the_run_says_so(runs: Path, reference: str) -> None:
    configuration = config(**{"min-clients": 4, "shortage": "skip"})
    folder = RunFolder.create(configuration)

    def away_for_one_round(server_round: int, grid: LocalGrid) -> None:
        if server_round == 1:
            away.update({node: grid.contexts.pop(node) for node in list(grid.contexts)[:2]})
        elif server_round == 2:
            grid.contexts.update(away)

    away: dict[int, Any] = {}
    summary, _ = run(configuration, folder, away_for_one_round)
    rounds = folder.rounds()
    assert [record["skipped"] for record in rounds] == [None, None, "3 of 5 clients connected, which is too few", None]
    assert [entry["node_id"] for entry in rounds[2]["dropped"]] == [0, 1]
    assert rounds[2]["MA"] == rounds[1]["MA"]
    assert len(rounds[3]["clients"]) == 5
    assert summary["skipped"] == 1
    assert rounds[3]["events"] == ["partitions 0, 1 connected again"]
    assert "partitions 0, 1 not connected; waiting up to 0.2 s" in rounds[2]["events"]


def test_a_run_begins_without_a_client_that_never_came(runs: Path) -> None:
    configuration = config(**{"min-clients": 4})
    folder = RunFolder.create(configuration)
    grid = LocalGrid(build_client_app(configuration), 4)  # of five
    observer = Hooked(lambda server_round: None)
    run_federation(GridFleet(grid, configuration, engine="local"), configuration, folder, observer)
    environment = folder.environment()
    assert environment["never_seen"] == [4]
    assert environment["class_counts"][4] == [0] * 10
    assert all(record["dropped"] == [{"node_id": 4, "reason": "not connected"}] for record in folder.rounds()[1:])
    assert not any("holds no example" in text for text in observer.notices)


@pytest.mark.parametrize("lost", ["environment.json", "checkpoint/latest.safetensors"])
def test_a_start_that_came_to_nothing_is_in_the_record(lost: str, runs: Path, reference: str) -> None:
    folder = RunFolder.create(config())

    class EndedError(Exception):
        """Stands for a kill."""

    def end(server_round: int, grid: LocalGrid) -> None:
        raise EndedError

    with pytest.raises(EndedError):
        run(config(rounds=ROUNDS), folder, end)
    for file in ("checkpoint/earlier.safetensors", lost):  # of a process that was killed before it came so far
        (folder.path / file).unlink()
    if lost == "environment.json":
        folder.keep_rounds(0)
        (folder.path / "checkpoint" / "latest.safetensors").unlink()
    summary, observer = run(config(), folder, untouched)
    told = "this run was begun before, and ended before its first round was over"
    assert folder.rounds()[1]["events"] == [told]
    assert told in observer.notices
    assert summary["model_sha256"] == reference


def test_an_attacker_that_comes_late_with_nothing_to_attack_is_dormant(runs: Path) -> None:
    tables: dict[str, Any] = {
        "data": {"partition": "one-class"},
        "federation": {"clients": 5, "rounds": 3, "local-epochs": 1, "node-timeout": 0.2, "min-clients": 4},
        "attack": {"kind": "backdoor", "clients": "4", "source": 0},
        "defense": {"strategy": "fedavg"},
    }
    configuration = parse(tables)
    folder = RunFolder.create(configuration)
    grid = LocalGrid(build_client_app(configuration), 5)
    late = grid.contexts.pop(FIRST_NODE + 4)

    def come(server_round: int) -> None:
        grid.contexts[FIRST_NODE + 4] = late

    run_federation(GridFleet(grid, configuration, engine="local"), configuration, folder, Hooked(come))
    roles = [{c["client"]: c["role"] for c in line["clients"]}.get(4) for line in folder.rounds()]
    assert roles == [None, None, "dormant", "dormant"]
