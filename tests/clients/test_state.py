"""What a client keeps outlives its process, and belongs to the round that it comes from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedsec.clients import BenignClient, LocalTask
from fedsec.clients.state import ClientState, StateError, state_folder
from fedsec.runs.table import load_table, run_folder_name

PROJECT = Path(__file__).parents[2]

NOTHING: dict[str, np.ndarray] = {}


def kept(number: int) -> dict[str, np.ndarray]:
    return {"n": np.array(number)}


def names(state: ClientState) -> list[str]:
    return sorted(path.name for path in state.folder.iterdir())


@pytest.fixture
def state(tmp_path: Path) -> ClientState:
    return ClientState.of(tmp_path, "20260102-030405-abcd", 4)


def test_a_round_begins_with_what_an_earlier_one_left(state: ClientState) -> None:
    assert state.before(1) == (NOTHING, "")
    state.save(1, kept(1))
    state.save(3, kept(3))  # it was not in round 2
    assert state.before(1) == (NOTHING, "")
    assert state.before(2)[0] == state.before(3)[0] == kept(1)
    assert state.before(4)[0] == kept(3)


def test_a_round_that_is_done_again_begins_where_it_began_before(state: ClientState) -> None:
    for number in range(1, 6):
        state.save(number, kept(number))
    assert names(state) == ["000003.safetensors", "000004.safetensors", "000005.safetensors"]
    state.save(4, kept(40))  # the server was killed, and goes on from round 3
    assert names(state) == ["000003.safetensors", "000004.safetensors"]
    assert state.before(5)[0] == kept(40)


def test_a_damaged_state_is_set_aside_and_told_of_once(state: ClientState) -> None:
    state.save(1, kept(1))
    path = state.folder / "000001.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x55")
    arrays, note = state.before(2)
    assert arrays == NOTHING
    assert note == "its state 000001.safetensors was damaged (its content is not what was written); it started anew"
    assert names(state) == ["000001.damaged"]
    assert state.before(2) == (NOTHING, "")


@pytest.mark.parametrize("run", ["", "../../etc", "/etc", "a/b", "..", "x\n", "x" * 200])
def test_a_runs_name_that_could_be_a_path_is_refused(run: str, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="expected the name of a run's folder"):
        ClientState.of(tmp_path, run, 0)


def test_the_folder_is_the_named_one_then_the_environments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FEDSEC_STATE", str(tmp_path / "environment"))
    assert state_folder(str(tmp_path / "named")) == tmp_path / "named"
    assert state_folder() == tmp_path / "environment"
    monkeypatch.delenv("FEDSEC_STATE")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert state_folder() == tmp_path / "xdg" / "fedsec"


def rounds(task: LocalTask, sent: list[np.ndarray], *numbers: int) -> list[np.ndarray]:
    """Train the rounds one after the other, each in a client of its own, as after a restart."""
    for number in numbers:
        client = BenignClient(task)
        sent, _, metrics = client.fit(sent, {"server-round": number, "run": "r"})
        assert "note" not in metrics
    return sent


def test_momentum_outlives_the_client(task: LocalTask, sent: list[np.ndarray], tmp_path: Path) -> None:
    task = replace(task, settings=replace(task.settings, momentum=0.9, learning_rate=0.01))
    reset, keeps = task, replace(task, state=tmp_path / "state")
    first, other = rounds(reset, sent, 1), rounds(keeps, sent, 1)
    assert all((a == b).all() for a, b in zip(first, other, strict=True))
    second, other = rounds(reset, first, 2), rounds(keeps, first, 2)
    assert any((a != b).any() for a, b in zip(second, other, strict=True))


def test_a_round_done_again_ends_with_the_same_numbers(task: LocalTask, sent: list[np.ndarray], tmp_path: Path) -> None:
    settings = replace(task.settings, momentum=0.9, learning_rate=0.01)
    whole = rounds(replace(task, settings=settings, state=tmp_path / "whole"), sent, 1, 2, 3)
    again = replace(task, settings=settings, state=tmp_path / "again")
    first = rounds(again, sent, 1)
    second = rounds(again, first, 2)
    rounds(again, second, 3)  # its reply was lost with the server
    repeated = rounds(again, rounds(again, first, 2), 3)
    assert all((a == b).all() for a, b in zip(whole, repeated, strict=True))


def test_a_lost_state_is_in_the_reply(task: LocalTask, sent: list[np.ndarray], tmp_path: Path) -> None:
    keeps = replace(task, settings=replace(task.settings, momentum=0.9), state=tmp_path)
    BenignClient(keeps).fit(sent, {"server-round": 1, "run": "r"})
    next(tmp_path.rglob("*.safetensors")).write_bytes(b"garbage")
    _, _, metrics = BenignClient(keeps).fit(sent, {"server-round": 2, "run": "r"})
    assert str(metrics["note"]).startswith("its state 000001.safetensors was damaged")


def test_the_folder_of_every_run_of_every_table_is_a_name_that_clients_take(tmp_path: Path) -> None:
    for file in sorted((PROJECT / "experiments").glob("*/table_*.toml")):
        table = load_table(file)
        for cell, config in table.runs([2**31 - 1]):
            name = run_folder_name(cell, config)
            assert ClientState.of(tmp_path, name, 3).folder == tmp_path / name / "3"
