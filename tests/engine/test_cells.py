"""A table is the same table on every engine, however many of its runs go on at once."""

import json
from pathlib import Path
from typing import Any

import pytest

from fedsec.runs.record import RunFolder
from tests.command_line import fedsec
from tests.engine.conftest import record
from tests.engine.crews import LocalCrew

TABLE = """
title = "A small table"
seeds = [0, 1]
[axes]
"defense.strategy" = ["fedavg", "flame"]
[floor]
"attack.kind" = "none"
"defense.strategy" = "fedavg"
[data]
dataset = "digits"
[federation]
rounds = 1
local-epochs = 1
batch-size = 32
cohort-size = 4
[attack]
kind = "backdoor"
[defense]
strategy = "fedavg"
[[published]]
at = { "defense.strategy" = "flame" }
MA = [90.0, 1.0]
BA = [1.0, 0.5]
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    file = tmp_path / "small.toml"
    file.write_text(TABLE)
    return file


def reproduce(table: Path, out: str, *arguments: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Reproduce a table below ``out``; return its cells, apart from their seconds, and the record of each run."""
    folder = table.parent / out
    done = fedsec("reproduce", table, "--json", "--set", f'run.output="{folder}"', *arguments)
    assert done.code == 0, done.err
    runs = {file.parent.name: RunFolder(file.parent) for file in folder.rglob("config.toml")}
    cells = [
        {k: v for k, v in cell.items() if k != "seconds_per_round"} for cell in json.loads(done.out.splitlines()[-1])
    ]
    return cells, {name: record(run) for name, run in runs.items()}


def test_a_table_is_that_of_the_local_engine_however_many_runs_go_on_at_once(
    table: Path, crews: list[LocalCrew]
) -> None:
    local, of_local = reproduce(table, "local", "--engine", "local")
    assert len(of_local) == 6
    for number, together in enumerate((1, 4)):
        cohort, of_cohort = reproduce(table, f"cohort{number}", "--engine", "cohort", "--together", str(together))
        assert cohort == local
        assert of_cohort == of_local
        assert crews[number].closed
        at_once = [len(call.arguments[0].runs) for call in crews[number].calls if call.method == "train"]
        assert max(at_once) == together
    assert len(crews) == 2


def test_runs_that_are_finished_are_not_done_again_with_the_others(table: Path, crews: list[LocalCrew]) -> None:
    first, of_first = reproduce(table, "cohort", "--engine", "cohort", "--together", "3")
    for name in list(of_first)[:2]:
        [folder] = list(table.parent.glob(f"cohort/*/{name}"))
        (folder / "summary.json").unlink()
    again, of_again = reproduce(table, "cohort", "--engine", "cohort", "--together", "3")
    assert again == first
    assert of_again == of_first
    assert [call for call in crews[1].calls if call.method == "train"] == []  # their checkpoints are at their ends
