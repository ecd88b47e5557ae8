"""The stage before the first round: every engine fills the same classes with the same images, and resumes in it."""

import json
from typing import Any

import pytest

from fedsec import description, filling
from fedsec.client_app import build_client, fill_classes
from fedsec.clients import BenignClient
from fedsec.data import generated
from fedsec.engine.run import EngineName, execute
from fedsec.engine.throughput import measure
from fedsec.nodes import FederationError
from fedsec.runs.config import RunConfig
from fedsec.runs.filling import FillingRecord
from fedsec.runs.record import RunFolder
from tests.engine.conftest import InterruptedRunError, Silent, StopsAfter, config, record, run


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, cache: Any) -> None:
    """Keep what fills classes apart from other tests', and the decoded data where they are."""
    monkeypatch.setattr(generated, "cache_folder", lambda: tmp_path / "cache")


def filling_config(balance: str = "cgan", **changes: Any) -> RunConfig:
    quick = {"federation__rounds": 2, "federation__local_epochs": 1, "federation__batch_size": 64}
    gan = {"gan__steps": 4, "gan__batch_size": 8, "gan__width": 8, "gan__latent": 4}
    data = {"data__q": 0.9, "data__balance": balance, "data__fill": "mean", "federation__clients": 5}
    return config(**quick | gan | data | {"defense__strategy": "fedavg"} | changes)


def without_seconds(folder: RunFolder) -> list[dict[str, Any]]:
    lines = [record.line() for _, record in sorted(folder.fillings().items())]
    return [{key: value for key, value in line.items() if key not in ("seconds", "kept")} for line in lines]


@pytest.mark.usefixtures("crews")
@pytest.mark.parametrize("balance", ["repeat", "augment", "cgan"])
def test_engines_fill_alike_and_train_on_what_was_filled(balance: str) -> None:
    (ours, folder, told), (theirs, other, _) = (run(filling_config(balance), name) for name in ("cohort", "local"))
    assert ours["model_sha256"] == theirs["model_sha256"]
    assert record(folder) == record(other)
    assert without_seconds(folder) == without_seconds(other)
    assert sorted(told.filled_clients) == [0, 1, 2, 3, 4]
    for line in folder.rounds()[1:]:
        honest = [client for client in line["clients"] if client["role"] == "honest"]
        after = folder.fillings()
        assert [client["examples"] for client in honest] == [sum(after[client["client"]].after) for client in honest]
    assert all(line["skew_after"] < line["skew_before"] for line in without_seconds(folder))
    assert folder.environment()["starts"][0]["filling_seconds"] > 0


@pytest.mark.usefixtures("crews")
def test_an_epoch_of_as_many_examples_as_a_client_has_of_its_own_is_alike_on_all_engines() -> None:
    own = filling_config("repeat", data__filled_epoch="own")
    (ours, folder, _), (theirs, other, _), (whole, _, _) = (
        run(configuration, engine)
        for configuration, engine in ((own, "cohort"), (own, "local"), (filling_config("repeat"), "local"))
    )
    assert ours["model_sha256"] == theirs["model_sha256"] != whole["model_sha256"]
    assert record(folder) == record(other)


def test_a_part_of_the_examples_is_the_same_part_of_the_triggered_copies() -> None:
    own = filling_config("repeat", data__filled_epoch="own", attack__clients="2")
    for partition in (1, 2):
        client, report = build_client(own, partition), fill_classes(own, partition)
        member = client.member([], 1)
        assert member.epoch == pytest.approx(len(member.labels) * sum(report.before) / sum(report.after), abs=1)
        assert len(member.labels) == sum(report.after) + (report.after[0] if partition == 2 else 0)


def test_malicious_clients_fill_first_and_then_poison() -> None:
    _, folder, _ = run(filling_config("repeat", attack__clients="2"), "local")
    filled, [line] = folder.fillings()[2], folder.rounds()[1:2]
    [attacker] = [client for client in line["clients"] if client["client"] == 2]
    assert attacker["examples"] == sum(filled.after) + filled.after[0]
    assert filled.after[0] > filled.before[0]


class KilledAfter(Silent):
    """Interrupts the run when so many clients have filled their classes."""

    def __init__(self, clients: int) -> None:
        super().__init__()
        self.clients = clients

    def filled(self, record: FillingRecord, done: int, clients: int) -> None:
        super().filled(record, done, clients)
        if done == self.clients:
            raise InterruptedRunError


@pytest.mark.usefixtures("crews")
@pytest.mark.parametrize("engine", ["local", "cohort"])
def test_a_killed_stage_goes_on_with_the_clients_that_are_left(
    engine: EngineName, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _, _ = run(filling_config(), engine)
    monkeypatch.setattr(generated, "_whole", {})
    configuration, observer = filling_config(), Silent()
    folder = RunFolder.create(configuration)
    with pytest.raises(InterruptedRunError):
        execute(configuration, folder, KilledAfter(2), engine=engine)
    begun = list(folder.fillings())
    assert len(begun) == 2
    resumed = execute(configuration, folder, observer, engine=engine)
    assert sorted([*begun, *observer.filled_clients]) == [0, 1, 2, 3, 4]
    assert resumed["model_sha256"] == whole["model_sha256"]


def test_a_client_that_holds_something_else_than_when_it_filled_its_classes_fills_them_anew() -> None:
    configuration, observer = filling_config("repeat"), Silent()
    folder = RunFolder.create(configuration)
    with pytest.raises(InterruptedRunError):
        execute(configuration, folder, KilledAfter(2), engine="local")
    stale, kept = folder.fillings().values()
    path, counts = folder.path / "filling.jsonl", [count + 1 for count in stale.before]
    first, *others = path.read_text().splitlines(keepends=True)
    path.write_text(json.dumps({**json.loads(first), "before": counts, "after": counts}) + "\n" + "".join(others))
    execute(configuration, folder, observer, engine="local")
    assert stale.client in observer.filled_clients
    assert kept.client not in observer.filled_clients
    assert folder.fillings()[stale.client].before == stale.before


def test_a_run_whose_data_has_changed_fills_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = filling_config("repeat")
    folder = RunFolder.create(configuration)
    with pytest.raises(InterruptedRunError):
        execute(configuration, folder, StopsAfter(1), engine="local")
    (folder.path / "filling.jsonl").unlink()
    monkeypatch.setattr(description, "partition_hash", lambda parts: "f" * 64)
    with pytest.raises(FederationError, match="the data has changed since this run was begun"):
        execute(configuration, folder, Silent(), engine="local")
    assert folder.fillings() == {}


@pytest.mark.usefixtures("crews")
@pytest.mark.parametrize("engine", ["local", "cohort"])
def test_a_client_that_cannot_fill_is_dropped_and_recorded_and_stops_nobody(
    engine: EngineName, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = filling.kept

    def fails_for_one(key: Any, make: Any) -> Any:
        if key["client"] == 3:
            raise OSError(28, "No space left on device")
        return original(key, make)

    monkeypatch.setattr(filling, "kept", fails_for_one)
    summary, folder, told = run(filling_config(), engine)
    assert sorted(folder.fillings()) == [0, 1, 2, 4]
    assert any("partition 3 could not fill its classes" in text and "No space" in text for text in told.notices)
    assert any("partition 3 could not fill" in text for text in folder.rounds()[1]["events"])
    assert summary["dropped"] == 2  # one in each round
    assert "No space left" in str(folder.rounds()[1]["dropped"][0]["reason"])


def test_without_filling_there_is_no_stage() -> None:
    _, folder, told = run(filling_config("none"), "local")
    assert told.filled_clients == []
    assert not (folder.path / "filling.jsonl").exists()
    assert "filling_seconds" not in folder.environment()["starts"][0]


@pytest.mark.usefixtures("crews")
@pytest.mark.parametrize("engine", ["local", "cohort"])
def test_a_client_that_fills_late_is_in_the_record(engine: EngineName, monkeypatch: pytest.MonkeyPatch) -> None:
    original, failed = filling.kept, list[int]()

    def fails_once(key: Any, make: Any) -> Any:
        if key["client"] == 3 and not failed:
            failed.append(3)
            raise OSError(28, "No space left on device")
        return original(key, make)

    monkeypatch.setattr(filling, "kept", fails_once)
    summary, folder, _ = run(filling_config(federation__cohort_size=2), engine)
    assert summary["dropped"] == 0
    first, second = (line["notes"] for line in folder.rounds()[1:])
    [said] = [note["note"] for note in first if note["client"] == 3]
    assert said.startswith("filled its classes just now: ")
    assert [note for note in second if note["client"] == 3] == []


def test_a_client_measures_itself_on_its_own_images() -> None:
    client, report = build_client(filling_config("repeat"), 1), fill_classes(filling_config("repeat"), 1)
    _, examples, _ = client.evaluate(client.get_parameters({}), {})
    assert examples == sum(report.before) < len(client.task.labels)


def test_the_size_of_a_cohort_is_measured_with_whole_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    own = filling_config("repeat", data__filled_epoch="own", federation__batch_size=8)
    taken: list[int] = []
    original = BenignClient.member

    def noted(client: BenignClient, *arguments: Any) -> Any:
        member = original(client, *arguments)
        taken.append(member.epoch)
        return member

    monkeypatch.setattr(BenignClient, "member", noted)
    measure(build_client(own, 1), 2)
    assert set(taken) == {8}
