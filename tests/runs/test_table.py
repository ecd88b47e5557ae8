"""Table files: every one that is shipped loads, and every mistake is one line."""

from pathlib import Path

import pytest

from fedsec.runs.checks import check
from fedsec.runs.figure import is_figure, load_figure
from fedsec.runs.loading import ConfigError, load_run_file, read_toml
from fedsec.runs.table import load_table, run_folder_name

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
FILES = sorted(EXPERIMENTS.rglob("*.toml"))

TABLE = """
title = "A table"
seeds = 2
[axes]
"data.q" = [0.1, 0.5]
"defense.strategy" = ["fedavg", "krum"]
[floor]
"attack.kind" = "none"
"defense.strategy" = "fedavg"
[data]
dataset = "digits"
[attack]
kind = "backdoor"
[defense]
strategy = "fedavg"
num-malicious = 3
[[published]]
at = { "data.q" = 0.5, "defense.strategy" = "krum" }
MA = [90, 1.5]
"""


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "table.toml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("file", FILES, ids=[str(file.relative_to(EXPERIMENTS)) for file in FILES])
def test_every_shipped_file_loads(file: Path) -> None:
    content = read_toml(file)
    if is_figure(content):
        load_figure(file, reduced="reduced" in content)
    elif "axes" in content:
        table = load_table(file)
        assert len(table.runs(table.seeds)) >= len(table.seeds)
    else:
        check(load_run_file(file))


def test_cells_are_the_product_of_the_axes_and_the_floor_is_run_once(tmp_path: Path) -> None:
    table = load_table(write(tmp_path, TABLE))
    runs = table.runs(table.seeds)
    labels = [f"{cell.label()} {config.run.seed}" for cell, config in runs]
    assert len(labels) == len(set(labels)) == 2 * (2 + 4)
    assert [cell.floor for cell, _ in runs[:3]] == [True, True, False]
    assert runs[-1][0].at == {"data.q": 0.5, "defense.strategy": "krum"}
    assert table.published[0].numbers == {"MA": (90.0, 1.5)}


LEFT_OUT = """
[[left-out]]
"data.q" = 0.1
"defense.strategy" = ["krum"]
"""


def test_combinations_that_are_left_out_are_not_run_and_neither_is_their_floor(tmp_path: Path) -> None:
    table = load_table(write(tmp_path, TABLE.replace('"defense.strategy" = "fedavg"\n', "") + LEFT_OUT))
    cells = [(cell.at["data.q"], cell.at["defense.strategy"]) for cell in table.cells()]
    assert cells == 2 * [(0.1, "fedavg"), (0.5, "fedavg"), (0.5, "krum")]
    assert len(table.runs(table.seeds)) == 2 * len(cells)


def test_an_axis_that_an_entry_does_not_name_is_left_out_whole(tmp_path: Path) -> None:
    table = load_table(write(tmp_path, TABLE + '[[left-out]]\n"data.q" = [0.1]\n'))
    assert {cell.at["data.q"] for cell in table.cells()} == {0.5}


def test_each_cell_keeps_the_options_of_its_own_strategy(tmp_path: Path) -> None:
    table = load_table(write(tmp_path, TABLE))
    options = {str(cell.at["defense.strategy"]): config.defense.options() for cell, config in table.runs([0])}
    assert options == {"fedavg": {}, "krum": {"num_malicious": 3}}


def test_overrides_change_every_cell(tmp_path: Path) -> None:
    table = load_table(write(tmp_path, TABLE))
    assert {config.federation.rounds for _, config in table.runs([0], {"federation.rounds": 3})} == {3}


def test_an_axis_that_is_overridden_has_that_value_alone_and_no_other_s_name(tmp_path: Path) -> None:
    table = load_table(write(tmp_path, TABLE + LEFT_OUT))
    for q in (0.1, 0.5):
        runs = table.runs([0], {"data.q": q})
        assert {(cell.at["data.q"], config.data.q) for cell, config in runs} == {(q, q)}
        assert {config.defense.strategy for _, config in runs} == ({"fedavg"} if q == 0.1 else {"fedavg", "krum"})
    with pytest.raises(ConfigError, match=r"the table has no cell with data\.q = 0\.1 and defense\.strategy = krum"):
        table.runs([0], {"data.q": 0.1, "defense.strategy": "krum"})


def test_a_floor_stays_one_whatever_is_overridden(tmp_path: Path) -> None:
    table = load_table(write(tmp_path, TABLE))
    runs = table.runs([0], {"attack.kind": "untargeted"})
    assert {(cell.floor, config.attack.kind) for cell, config in runs} == {(True, "none"), (False, "untargeted")}


def test_a_folder_s_name_changes_with_whatever_decides_the_numbers(tmp_path: Path) -> None:
    table = load_table(write(tmp_path, TABLE))
    names = {run_folder_name(cell, config) for cell, config in table.runs([0, 1])}
    other = {run_folder_name(cell, config) for cell, config in table.runs([0, 1], {"federation.rounds": 3})}
    assert len(names) == 12
    assert not names & other


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('title = "A table"', "", "title: found None; expected the table's title"),
        ("seeds = 2", "seeds = 0", "seeds: found 0; expected how many"),
        ("seeds = 2", "seeds = [0, -1]", r"seeds: found \[0, -1\]"),
        ("[axes]", "[axis]", "axes: found None; expected a table of keys"),
        ('"data.q" = [0.1, 0.5]', '"data.r" = [0.1, 0.5]', "axes: 'data.r' is no key of a run"),
        ('"data.q" = [0.1, 0.5]', '"data.q" = 0.5', "axes: 'data.q' has 0.5; expected a list"),
        ('"data.q" = 0.5, "defense', '"data.q" = 0.7, "defense', r"data.q = 0.7 is not on the axis \[0.1, 0.5\]"),
        ('at = { "data.q" = 0.5, ', "at = { ", "at must give a value for each of"),
        (
            "MA = [90, 1.5]",
            "MA = 90",
            r"found MA = 90; expected MA, BA, RECOGNISED, DISTANCE, SSIM, IS, FID or KID = \[mean, spread\]",
        ),
        ("MA = [90, 1.5]", "PSNR = [90, 1.5]", "expected MA, BA"),
        ("num-malicious = 3", "num-malicious = 4", "Krum needs n >= 2"),
        ("num-malicious = 3", "num-malicious = 3\nclip = 0.5", "defense.clip: no strategy of this table"),
        ('"fedavg", "krum"]', '"fedavg", "krum", "crumb"]', "defense.strategy: found 'crumb'"),
        ('dataset = "digits"', 'datasets = "digits"', "data.datasets: unknown key; did you mean data.dataset"),
        ('dataset = "digits"', "", "data.dataset: missing"),
    ],
)
def test_a_mistake_in_a_table_is_explained(old: str, new: str, expected: str, tmp_path: Path) -> None:
    assert old in TABLE
    with pytest.raises(ConfigError, match=expected):
        load_table(write(tmp_path, TABLE.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[[left-out]]", "[left-out]", r"left-out: found \{.*\}; expected \[\[left-out\]\] tables"),
        ('"data.q" = 0.1\n"defense.strategy" = ["krum"]', "", r"left-out 1: found \{\}; expected values on some of"),
        ('"data.q" = 0.1', '"data.alpha" = 0.1', r"left-out 1: 'data.alpha' is not among the axes \['data.q'"),
        ('"data.q" = 0.1', '"data.q" = 0.2', r"left-out 1: data.q = 0.2 is not on the axis \[0.1, 0.5\]"),
        ('["krum"]', '["krum", "crumb"]', "left-out 1: defense.strategy = 'crumb' is not on the axis"),
        ('["krum"]', "[]", "left-out 1: defense.strategy has no value; expected some of the axis"),
        ('"data.q" = 0.1', '"data.q" = 0.5', "published 1: this cell is left out by left-out 1"),
        ('0.1\n"defense.strategy" = ["krum"]', "[0.1, 0.5]", "left-out: found entries that leave out every cell"),
    ],
)
def test_a_mistake_in_what_is_left_out_is_explained(old: str, new: str, expected: str, tmp_path: Path) -> None:
    assert old in LEFT_OUT
    with pytest.raises(ConfigError, match=expected):
        load_table(write(tmp_path, TABLE + LEFT_OUT.replace(old, new)))


REDUCED = """
[reduced]
"federation.rounds" = 1
"data.share" = 0.1
"""


def test_the_reduced_table_has_the_same_cells_its_own_runs_and_nothing_published(tmp_path: Path) -> None:
    table = load_table(write(tmp_path, TABLE + REDUCED))
    reduced = table.as_reduced()
    assert (reduced.name, reduced.title) == ("table_reduced", "A table (reduced)")
    assert list(reduced.cells()) == list(table.cells())
    assert {(c.federation.rounds, c.data.share, c.run.name) for _, c in reduced.runs([0])} == {(1, 0.1, reduced.name)}
    assert {(c.federation.rounds, c.data.share) for _, c in table.runs([0])} == {(16, 1.0)}
    assert reduced.published == ()
    assert "Reduced setting (federation.rounds = 1, data.share = 0.1)" in reduced.note
    assert table.note == ""


def test_without_a_reduced_setting_there_is_no_reduced_table(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--reduced: this file has no \[reduced\] setting"):
        load_table(write(tmp_path, TABLE)).as_reduced()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[reduced]", "[[reduced]]", "reduced: found .*; expected a table of keys and values"),
        ('"data.share"', '"data.part"', "reduced: 'data.part' is no key of a run"),
        ('"data.share" = 0.1', '"data.q" = 0.1', "reduced: 'data.q' is an axis of the table"),
        ("0.1", "2.0", "data.share: found 2.0; expected less than or equal to 1"),
    ],
)
def test_a_mistake_in_the_reduced_setting_is_explained(old: str, new: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=expected):
        load_table(write(tmp_path, TABLE + REDUCED.replace(old, new)))


@pytest.mark.parametrize("name", ["my demo.toml", ".toml", "a" * 65 + ".toml"])
def test_a_table_s_file_that_no_folder_can_be_named_after_is_refused(name: str, tmp_path: Path) -> None:
    file = write(tmp_path, TABLE).rename(tmp_path / name)
    with pytest.raises(ConfigError) as error:
        load_table(file)
    [problem] = error.value.problems
    assert f"found {file.stem!r}, which becomes the name of the folder of runs; expected 1 to 64 letters" in problem
    assert "run.name" not in problem
