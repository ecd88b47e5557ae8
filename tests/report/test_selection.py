"""Which runs a report is about."""

import os
from pathlib import Path

import pytest

from fedsec.report.selection import find_runs, select_runs
from fedsec.runs.loading import ConfigError
from fedsec.runs.record import RunFolder
from fedsec.runs.table import Table, load_table
from tests.report.finished import config, record

TABLE = """
title = "A table"
[axes]
"defense.strategy" = ["fedavg", "flame"]
[floor]
"attack.kind" = "none"
"defense.strategy" = "fedavg"
[data]
dataset = "digits"
[attack]
kind = "backdoor"
[defense]
strategy = "fedavg"
"""


@pytest.fixture
def table(tmp_path: Path) -> Table:
    file = tmp_path / "cells.toml"
    file.write_text(TABLE)
    return load_table(file)


def at(folder: RunFolder, seconds: int) -> RunFolder:
    """Say when a run was finished."""
    os.utime(folder.path / "summary.json", (seconds, seconds))
    return folder


def test_with_a_table_only_its_cells_count_for_every_seed_at_hand(
    folders: list[RunFolder], tmp_path: Path, table: Table
) -> None:
    others = [
        record(config("fedavg", federation_rounds=2), tmp_path / "short", 50.0, 50.0),
        record(config("krum"), tmp_path / "other", 50.0, 50.0),
    ]
    found = select_runs([*others, *folders], table)
    assert found.folders == folders[:6]  # the last one is FLAME that nobody attacks, which is no cell
    assert found.notes == ("Left out: 3 runs whose configuration is that of no cell of cells.toml.",)


def test_without_a_table_every_run_counts(folders: list[RunFolder]) -> None:
    found = select_runs(folders)
    assert (found.folders, found.notes) == (folders, ())


def test_of_runs_with_one_configuration_the_newest_counts(
    folders: list[RunFolder], tmp_path: Path, table: Table
) -> None:
    newer = at(record(config("fedavg", 0, run_name="again"), tmp_path / "0-again", 91.0, 1.0), 200)
    older = at(folders[0], 100)
    note = "Left out: 1 run of a configuration and seed that a newer run has too; the newest counts."
    for cells in (None, table):
        found = select_runs([newer, older, folders[2]], cells)
        assert found.folders == [newer, folders[2]]
        assert found.notes == (note,)


def test_no_run_of_a_table_is_a_clear_error(tmp_path: Path, table: Table) -> None:
    short = record(config("fedavg", federation_rounds=2), tmp_path / "short", 50.0, 50.0)
    with pytest.raises(ConfigError, match=r"cells\.toml: 1 run found, but none has the configuration of a cell"):
        select_runs([short], table)


def test_runs_are_found_below_folders_and_once(folders: list[RunFolder], tmp_path: Path) -> None:
    (tmp_path / "unfinished").mkdir()
    assert find_runs([tmp_path, tmp_path / "a"]) == folders


def test_finding_no_runs_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no finished run at or below"):
        find_runs([tmp_path])
