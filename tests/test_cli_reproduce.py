"""``fedsec reproduce`` as a person uses it: tables, figures, and reports on their runs."""

from pathlib import Path

import pytest

from fedsec import cli_figures
from fedsec.metrics.generation import ScoreError
from fedsec.tensors import DamagedError
from fedsec.training.inception import WeightsError
from tests.command_line import fedsec, last_json

TABLE = """
title = "A small table"
[axes]
"defense.strategy" = ["fedavg", "flame"]
[floor]
"attack.kind" = "none"
"defense.strategy" = "fedavg"
[data]
dataset = "digits"
[federation]
rounds = 1
batch-size = 16
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
def table_file(tmp_path: Path) -> Path:
    file = tmp_path / "small.toml"
    file.write_text(TABLE)
    return file


def test_reproduce_prints_the_published_number_beside_ours_and_skips_finished_cells(
    table_file: Path, runs: Path
) -> None:
    done = fedsec("reproduce", table_file, "--engine", "local", "--seeds", "2", "--json")
    assert done.code == 0, done.err
    rows = {row["defense.strategy"]: row for row in last_json(done.out)}
    assert rows["flame"]["runs"] == 2
    assert rows["flame"]["MA_published"] == 90.0
    assert rows["flame"]["MA_difference"] == pytest.approx(rows["flame"]["MA"] - 90.0, abs=1e-6)
    assert rows["flame"]["floor"] is not None
    stamps = {file: file.stat().st_mtime_ns for file in runs.rglob("summary.json")}
    assert len(stamps) == 6
    again = fedsec("reproduce", table_file, "--engine", "local", "--seeds", "2", "--json")
    assert last_json(again.out) == last_json(done.out)
    assert {file: file.stat().st_mtime_ns for file in runs.rglob("summary.json")} == stamps
    report = runs / "small" / "report"
    assert {file.name for file in report.iterdir()} == {
        "small.md", "small.csv", "small_rounds.csv", "small.png", "small.html", "small_partition.png",
    }  # fmt: skip
    assert "| flame |" in (report / "small.md").read_text()


def test_reproduce_goes_on_with_a_cell_that_was_cut_short(table_file: Path, runs: Path) -> None:
    whole = last_json(fedsec("reproduce", table_file, "--engine", "local", "--json").out)
    [folder] = [path for path in (runs / "small").iterdir() if path.name.startswith("strategy=flame")]
    (folder / "summary.json").unlink()
    assert last_json(fedsec("reproduce", table_file, "--engine", "local", "--json").out) == whole


def test_reproduce_takes_a_run_that_another_table_has_finished(table_file: Path, runs: Path) -> None:
    first = last_json(fedsec("reproduce", table_file, "--engine", "local", "--json").out)
    stamps = {file: file.stat().st_mtime_ns for file in runs.rglob("summary.json")}
    other = table_file.rename(table_file.with_name("other.toml"))
    assert last_json(fedsec("reproduce", other, "--engine", "local", "--json").out) == first
    assert {file: file.stat().st_mtime_ns for file in runs.rglob("summary.json")} == stamps
    assert (runs / "other" / "report" / "other.md").exists()


def test_reproduce_reduced_runs_every_cell_in_little_time_and_says_that_it_did(table_file: Path, runs: Path) -> None:
    table_file.write_text(TABLE + '[reduced]\n"data.share" = 0.2\n"federation.local-epochs" = 1\n')
    done = fedsec("reproduce", table_file, "--engine", "local", "--reduced", "--json")
    assert done.code == 0, done.err
    rows = last_json(done.out)
    assert [row["attacked"] for row in rows] == [True, True, False]
    assert "MA_published" not in rows[0] or rows[0]["MA_published"] is None
    page = (runs / "small_reduced" / "report" / "small_reduced.md").read_text()
    assert page.startswith("# A small table (reduced)")
    assert "Reduced setting (data.share = 0.2, federation.local-epochs = 1)" in page


def test_a_table_whose_settings_were_changed_says_so(table_file: Path, runs: Path) -> None:
    done = fedsec("reproduce", table_file, "--engine", "local", "--set", "federation.local-epochs=1")
    assert done.code == 0, done.err
    assert "Run with --set: federation.local-epochs = 1." in (runs / "small" / "report" / "small.md").read_text()


FIGURE = 'title = "Who holds what"\nfigure = "samples"\n[show]\nimages = 3\n[data]\ndataset = "digits"\n'


def test_reproduce_draws_a_figure_and_writes_its_numbers(tmp_path: Path, runs: Path) -> None:
    file = tmp_path / "holdings.toml"
    file.write_text(FIGURE)
    done = fedsec("reproduce", file, "--set", "federation.clients=5", "--json")
    assert done.code == 0, done.err
    rows = last_json(done.out)["holdings"]
    assert [row["client"] for row in rows] == list(range(5))
    assert sum(sum(row.values()) for row in rows) == 1437 + sum(range(5))
    assert {path.name for path in (runs / "holdings").iterdir()} == {"holdings.md", "holdings.csv", "holdings.png"}
    assert "digits, dealt to 5 clients (label-skew with q = 0.3), seed 0" in (runs / "holdings/holdings.md").read_text()


@pytest.mark.parametrize("option", [["--seeds", "2"], ["--together", "2"], ["--engine", "local"]])
def test_what_only_tables_have_is_refused_for_a_figure(option: list[str], tmp_path: Path) -> None:
    file = tmp_path / "holdings.toml"
    file.write_text(FIGURE)
    done = fedsec("reproduce", file, *option)
    assert done.code == 2
    assert f"{option[0]}: this is a figure of one run" in done.err


def test_a_quiet_figure_says_where_it_is_and_its_page_what_was_changed(tmp_path: Path, runs: Path) -> None:
    file = tmp_path / "holdings.toml"
    file.write_text(FIGURE)
    done = fedsec("reproduce", file, "--quiet", "--set", "federation.clients=5")
    assert done.code == 0, done.err
    assert done.err == ""
    assert done.out.startswith("figure: ")
    assert len(done.out.splitlines()) == 1
    assert "Changed by --set (federation.clients = 5)." in (runs / "holdings/holdings.md").read_text()


@pytest.mark.parametrize(("error", "code"), [(WeightsError, 2), (ScoreError, 1), (DamagedError, 1)])
def test_what_a_figure_cannot_do_is_one_line(
    error: type[Exception], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object, **named: object) -> None:
        raise error("why, and what would do")

    file = tmp_path / "holdings.toml"
    file.write_text(FIGURE)
    monkeypatch.setattr(cli_figures, "reproduce_figure", fail)
    done = fedsec("reproduce", file)
    assert (done.code, done.err) == (code, "fedsec: why, and what would do\n")


def test_report_with_a_table_leaves_out_what_is_no_cell_and_says_so(
    table_file: Path, runs: Path, tmp_path: Path
) -> None:
    fedsec("reproduce", table_file, "--engine", "local", "--quiet")
    before = last_json(fedsec("report", runs, "--table", table_file, "--out", tmp_path / "out", "--json").out)
    fedsec("reproduce", table_file, "--engine", "local", "--quiet", "--set", "federation.batch-size=32")
    done = fedsec("report", runs, "--table", table_file, "--out", tmp_path / "out", "--json")
    assert last_json(done.out) == before
    assert [row["attacked"] for row in before] == [True, True, False]
    note = "Left out: 3 runs whose configuration is that of no cell of small.toml."
    assert note in done.err
    assert note in (tmp_path / "out" / "small.md").read_text()


def test_reproduce_tells_of_finished_cells_that_other_code_made(
    table_file: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = fedsec("reproduce", table_file, "--engine", "local")
    assert "with other code" not in done.out
    for module in ("fedsec.scenario", "fedsec.engine.cells"):
        monkeypatch.setattr(f"{module}.code_hash", lambda: "0123456789ab")
    again = fedsec("reproduce", table_file, "--engine", "local")
    assert "note: 3 of 3 runs were finished before, with other code than this (0123456789ab)" in again.out
    quiet = fedsec("reproduce", table_file, "--engine", "local", "--quiet")
    assert "with other code" not in quiet.out + quiet.err


def test_reproduce_may_change_the_cells_and_reports_on_them(table_file: Path) -> None:
    done = fedsec("reproduce", table_file, "--engine", "local", "--json", "--set", "federation.batch-size=32")
    assert done.code == 0, done.err
    assert [row["runs"] for row in last_json(done.out)] == [1, 1, 1]
    assert "Left out" not in done.err
