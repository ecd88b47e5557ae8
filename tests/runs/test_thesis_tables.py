"""The tables of the thesis on GAN balancing: rows that it prints twice are the same runs with the same numbers."""

import hashlib
import json
from pathlib import Path

import pytest

from fedsec.runs.record import config_hash
from fedsec.runs.table import Cell, Table, load_table

FOLDER = Path(__file__).parents[2] / "experiments" / "gan_balancing_thesis"
Numbers = dict[str, tuple[float, float]]


def table(name: str) -> Table:
    return load_table(FOLDER / f"{name}.toml")


def published(of: Table) -> dict[str, Numbers]:
    """Return the published numbers by the identity of their runs."""
    return {config_hash(of.config(Cell(entry.at), 0)): entry.numbers for entry in of.published}


@pytest.mark.parametrize(
    ("name", "cells", "floors", "numbers"),
    [
        ("table_5_1", 90, 18, 50),
        ("table_5_2", 45, 9, 25),
        ("table_5_3", 60, 4, 30),
        ("table_5_4", 45, 9, 25),
        ("table_5_5", 40, 8, 20),
    ],
)
def test_every_cell_of_the_thesis_is_there_and_has_its_controls(
    name: str, cells: int, floors: int, numbers: int
) -> None:
    of = table(name)
    runs = of.runs([0])
    assert [sum(not cell.floor for cell, _ in runs), sum(cell.floor for cell, _ in runs)] == [cells, floors]
    assert len(published(of)) == numbers
    assert all(set(entry) == {"MA", "BA"} for entry in published(of).values())
    assert {cell.at["data.balance"] for cell, _ in runs} > {"none", "repeat", "augment"}


@pytest.mark.parametrize(
    ("one", "other", "shared"), [("table_5_2", "table_5_3", 10), ("table_5_2", "table_5_5", 10),
                                 ("table_5_3", "table_5_5", 10), ("table_5_4", "table_5_5", 10)]
)  # fmt: skip
def test_rows_that_are_printed_twice_are_the_same_runs_with_the_same_numbers(one: str, other: str, shared: int) -> None:
    here, there = published(table(one)), published(table(other))
    both = here.keys() & there.keys()
    assert len(both) == shared
    assert all(here[run] == there[run] for run in both)


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("table_5_1", "8bda776e8658dd42"),
        ("table_5_2", "a844a772cf89d931"),
        ("table_5_3", "1dd49cfdea33d0bd"),
        ("table_5_4", "f4cad0d9ecf2a02f"),
        ("table_5_5", "187c9e45267c0954"),
    ],
)
def test_published_numbers_are_those_that_were_compared_with_the_thesis_one_by_one(name: str, digest: str) -> None:
    numbers = sorted([sorted(entry.at.items()), sorted(entry.numbers.items())] for entry in table(name).published)
    assert hashlib.sha256(json.dumps(numbers).encode()).hexdigest()[:16] == digest


def test_targeted_and_untargeted_cells_have_floors_of_their_own() -> None:
    floors = [config for cell, config in table("table_5_5").runs([0]) if cell.floor]
    assert {(config.attack.kind, config.attacked) for config in floors} == {
        ("backdoor", False),
        ("untargeted-backdoor", False),
    }
