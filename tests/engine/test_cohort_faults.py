"""What goes wrong on engine "cohort" is recorded as on engine "local", and a run goes on from its checkpoint."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from fedsec import client_app
from fedsec.clients import BenignClient
from fedsec.engine.cohort import CohortFleet
from fedsec.engine.run import EngineName, execute
from fedsec.runs.config import RunConfig
from fedsec.runs.record import RunFolder
from tests.engine.conftest import InterruptedRunError, Silent, StopsAfter, config, record, run
from tests.engine.crews import KilledError, LocalCrew, StuckError

pytestmark = pytest.mark.usefixtures("crews")

Spoil = Callable[[int, int, Any], Any]
"""From a client, a round, and what its ``fit`` returned to what it returns."""

CONFIG = config(federation__cohort_size=3, federation__local_epochs=1, federation__batch_size=32)


def spoil_clients(monkeypatch: pytest.MonkeyPatch, spoil: Spoil) -> None:
    """Let what clients return go through ``spoil``, on every engine."""
    build = client_app.build_client

    class Spoiled(BenignClient):
        def fit(self, parameters: Any, config: Any) -> Any:
            return spoil(self.task.partition, int(config["server-round"]), super().fit(parameters, config))

    def build_spoiled(config: RunConfig, partition: int) -> BenignClient:
        honest = build(config, partition)
        return honest if spoil(partition, 0, None) is None else Spoiled(honest.task)

    monkeypatch.setattr(client_app, "build_client", build_spoiled)
    monkeypatch.setattr("fedsec.engine.cohort.CohortFleet", partial(CohortFleet, make_client=build_spoiled))


def only(clients: set[int], spoil: Spoil) -> Spoil:
    """Return ``spoil`` for these clients; the others are not touched."""

    def spoil_some(client: int, server_round: int, fitted: Any) -> Any:
        if fitted is None:
            return client in clients or None
        return spoil(client, server_round, fitted)

    return spoil_some


def nan(fitted: Any) -> Any:
    return [np.full_like(array, np.nan) for array in fitted[0]], *fitted[1:]


def misbehave(client: int, server_round: int, fitted: Any) -> Any:
    """Spoil a few replies of the first round, all of the second, and none of the third."""
    if server_round == 2:
        return nan(fitted)
    if server_round == 1 and client == 1:
        raise OSError("the disk is full")
    if server_round == 1 and client in (2, 5, 7):
        bad = {2: nan(fitted), 5: (fitted[0][:-1], *fitted[1:]), 7: (fitted[0], 0, fitted[2])}
        return bad[client]
    return fitted


def test_replies_that_are_dropped_and_rounds_that_are_skipped_are_recorded_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spoil_clients(monkeypatch, only(set(range(10)), misbehave))
    (ours, folder, _), (theirs, other, _) = (run(CONFIG, name) for name in ("cohort", "local"))
    assert record(folder) == record(other)
    assert ours["model_sha256"] == theirs["model_sha256"]
    assert [len(line["dropped"]) for line in folder.rounds()[1:]] == [4, 10, 0]
    assert folder.rounds()[2]["skipped"] == "0 good replies; at least 1 are needed"
    assert ours["skipped"] == 1


@pytest.mark.parametrize("error", [KilledError, StuckError])
def test_a_client_that_costs_a_worker_costs_nobody_else_the_run(
    monkeypatch: pytest.MonkeyPatch, crews: list[LocalCrew], error: type[BaseException]
) -> None:
    def spoil(client: int, server_round: int, fitted: Any) -> Any:
        if server_round == 2:
            raise error
        return fitted

    spoil_clients(monkeypatch, only({4}, spoil))
    _, folder, _ = run(CONFIG, "cohort")
    first, second, third = folder.rounds()[1:]
    assert (first["dropped"], third["dropped"]) == ([], [])
    dropped = {client["node_id"]: client["reason"] for client in second["dropped"]}
    assert dropped[4] == ("its process died 2 times" if error is KilledError else "no answer")
    assert len(dropped) == 1 or (error is StuckError and len(dropped) < 8)
    assert len(second["clients"]) == 10 - len(dropped)
    assert crews[0].replaced


def test_a_worker_that_dies_once_changes_no_number(monkeypatch: pytest.MonkeyPatch, crews: list[LocalCrew]) -> None:
    whole = run(CONFIG, "local")[0]
    left = [1, 1]

    def spoil(client: int, server_round: int, fitted: Any) -> Any:
        if left:
            left.pop()
            raise KilledError
        return fitted

    spoil_clients(monkeypatch, only({7}, spoil))
    assert run(CONFIG, "cohort")[0]["model_sha256"] == whole["model_sha256"]
    assert len(crews[0].replaced) == 2


@pytest.mark.parametrize("engines", [("cohort", "cohort"), ("cohort", "local"), ("local", "cohort")])
def test_a_run_goes_on_from_its_checkpoint_to_the_same_end(engines: tuple[EngineName, EngineName]) -> None:
    whole, reference, _ = run(CONFIG, "local")
    folder = RunFolder.create(CONFIG)
    with pytest.raises(InterruptedRunError):
        execute(CONFIG, folder, StopsAfter(1), engine=engines[0])
    assert folder.summary() is None
    summary = execute(CONFIG, folder, Silent(), engine=engines[1])
    assert summary["model_sha256"] == whole["model_sha256"]
    assert record(folder) == record(reference)
    starts = folder.environment()["starts"]
    assert [(start["engine"], start["round"]) for start in starts] == [(engines[0], 0), (engines[1], 1)]


def test_a_finished_run_is_not_done_again(crews: list[LocalCrew]) -> None:
    summary, folder, _ = run(CONFIG, "cohort")
    calls = len(crews[0].calls)
    observer = Silent()
    assert execute(CONFIG, folder, observer, engine="cohort") == summary
    assert (len(crews), len(crews[0].calls), observer.rounds) == (1, calls, [])
