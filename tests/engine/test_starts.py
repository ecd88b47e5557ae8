"""A run that goes on keeps the evidence of what it was begun on."""

from pathlib import Path
from typing import Any

import pytest

from fedsec import description
from fedsec.engine.run import execute
from fedsec.nodes import FederationError
from fedsec.runs.config import RunConfig
from fedsec.runs.filling import FillingRecord
from fedsec.runs.loading import parse
from fedsec.runs.record import RunFolder
from fedsec.runs.rounds import RoundRecord


class InterruptedRunError(Exception):
    """Stands for a kill."""


class StopsAfter:
    """Interrupts the run after a round; keeps what it is told."""

    def __init__(self, last: int) -> None:
        self.last, self.notices = last, list[str]()

    def started(self, config: RunConfig, folder: RunFolder, first_round: int) -> None: ...

    def noticed(self, text: str) -> None:
        self.notices.append(text)

    def filled(self, record: FillingRecord, done: int, clients: int) -> None:
        pass

    def finished_round(self, record: RoundRecord) -> None:
        if record.round == self.last:
            raise InterruptedRunError


CONFIG = parse(
    {
        "data": {"partition": "one-class"},
        "federation": {"rounds": 3, "local-epochs": 1, "batch-size": 64},
        "attack": {"kind": "backdoor", "share": 0.2},
        "defense": {"strategy": "fedavg"},
    }
)


def go(folder: RunFolder, monkeypatch: pytest.MonkeyPatch, *, code: str, until: int = 99) -> list[str]:
    monkeypatch.setattr(description, "code_hash", lambda: code)
    observer = StopsAfter(until)
    try:
        execute(CONFIG, folder, observer, engine="local")
    except InterruptedRunError:
        assert until < 99
    return observer.notices


def test_every_start_is_kept_with_its_code_and_its_round(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder.create(CONFIG)
    first = go(folder, monkeypatch, code="aaa", until=1)
    alone = folder.environment()
    assert (alone["code"], alone["notices"]) == ("aaa", first)
    second = go(folder, monkeypatch, code="bbb", until=2)
    go(folder, monkeypatch, code="bbb")
    environment = folder.environment()
    assert [(start["round"], start["code"]) for start in environment["starts"]] == [(0, "aaa"), (1, "bbb"), (2, "bbb")]
    assert environment["code"] == "aaa+bbb"
    changed = "this run was begun with other code (aaa) than it goes on with (bbb)"
    assert changed in second
    assert environment["notices"] == [*first, changed]
    assert {"versions", "python", "platform", "engine", "device"} < set(environment["starts"][1])
    kept = ("engine", "versions", "class_counts", "malicious", "options", "mean", "std")
    assert [environment[key] for key in kept] == [alone[key] for key in kept]


def test_other_packages_and_another_device_are_told_of(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder.create(CONFIG)
    go(folder, monkeypatch, code="aaa", until=1)
    monkeypatch.setattr(description, "_version", lambda name: "7" if name == "torch" else "1")
    monkeypatch.setattr(description, "PACKAGES", ("torch",))
    monkeypatch.setattr(description, "choose_device", lambda name: "cuda")
    notices = go(folder, monkeypatch, code="aaa")
    assert "this run was begun with another device (cpu) than it goes on with (cuda)" in notices
    assert any("other packages (torch " in text and text.endswith("goes on with (torch 7)") for text in notices)


def test_a_record_of_before_starts_were_kept_tells_of_the_first(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder.create(CONFIG)
    go(folder, monkeypatch, code="aaa", until=1)
    older: dict[str, Any] = {k: v for k, v in folder.environment().items() if k not in ("starts", "mean", "std")}
    folder.write_environment(older)
    go(folder, monkeypatch, code="bbb")
    environment = folder.environment()
    assert [(start["round"], start["code"]) for start in environment["starts"]] == [(0, "aaa"), (1, "bbb")]
    assert environment["code"] == "aaa+bbb"


def test_a_run_whose_data_has_changed_does_not_go_on(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder.create(CONFIG)
    go(folder, monkeypatch, code="aaa", until=1)
    before = folder.environment()
    monkeypatch.setattr(description, "partition_hash", lambda parts: "f" * 64)
    with pytest.raises(FederationError, match="the data has changed since this run was begun"):
        go(folder, monkeypatch, code="aaa")
    assert folder.environment() == before
    assert folder.summary() is None


def test_without_its_checkpoints_a_run_begins_anew_on_whatever_there_is(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder.create(CONFIG)
    go(folder, monkeypatch, code="aaa", until=1)
    for file in folder.checkpoint.parent.iterdir():
        file.unlink()
    monkeypatch.setattr(description, "partition_hash", lambda parts: "f" * 64)
    go(folder, monkeypatch, code="bbb")
    assert folder.environment()["code"] == "bbb"
    assert [record["round"] for record in folder.rounds()] == [0, 1, 2, 3]


def test_what_a_killed_process_left_half_written_is_removed(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder.create(CONFIG)
    go(folder, monkeypatch, code="aaa", until=1)
    (folder.checkpoint.parent / ".latest.safetensors.x.partial").write_bytes(b"half")
    (folder.path / ".environment.json.x.partial").write_bytes(b"half")
    go(folder, monkeypatch, code="aaa")
    assert not list(folder.path.rglob("*.partial"))
