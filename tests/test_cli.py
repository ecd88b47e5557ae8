"""The command line as a person uses it, on the local engine."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fedsec import __version__, cli_figures
from fedsec.metrics.generation import ScoreError
from fedsec.runs.config import known_keys
from fedsec.strategies import STRATEGIES
from fedsec.tensors import DamagedError
from fedsec.training.inception import WeightsError
from tests.command_line import fedsec

RUN = """
[run]
name = "short"
[data]
dataset = "digits"
[federation]
rounds = 2
batch-size = 16
[attack]
kind = "backdoor"
[defense]
strategy = "flame"
"""

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
def run_file(tmp_path: Path) -> Path:
    file = tmp_path / "short.toml"
    file.write_text(RUN)
    return file


@pytest.fixture
def table_file(tmp_path: Path) -> Path:
    file = tmp_path / "small.toml"
    file.write_text(TABLE)
    return file


def last_json(text: str) -> Any:
    return json.loads(text.splitlines()[-1])


def test_run_shows_a_table_and_the_path_of_the_record_last(run_file: Path, runs: Path) -> None:
    done = fedsec("run", run_file, "--engine", "local")
    assert done.code == 0, done.err
    path = Path(done.out.strip().splitlines()[-1].removeprefix("record: "))
    assert path.parent == runs / "short"
    files = {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}
    assert {"config.toml", "environment.json", "rounds.jsonl", "summary.json", "samples.npz"} <= files
    assert {"checkpoint/latest.safetensors", "figures/report.png", "figures/report.html"} <= files


def test_json_is_the_last_line_and_quiet_shows_nothing_else(run_file: Path) -> None:
    done = fedsec("run", run_file, "--engine", "local", "--quiet", "--json")
    assert len(done.out.splitlines()) == 1
    assert done.err == ""
    assert set(last_json(done.out)["final"]) == {"MA", "BA", "round"}


def test_without_a_file_the_default_run_is_run() -> None:
    done = fedsec("run", "--engine", "local", "--set", "federation.rounds=1", "--quiet", "--json")
    assert done.code == 0, done.err
    assert last_json(done.out)["final"]["round"] == 1


def test_set_changes_one_key(run_file: Path, runs: Path) -> None:
    done = fedsec(
        "run", run_file, "--engine", "local", "--quiet", "--set", "federation.rounds=1", "--set", "run.name=x"
    )
    assert done.code == 0, done.err
    assert [folder.name for folder in runs.iterdir()] == ["x"]


def test_resume_of_a_finished_or_missing_run_is_a_clear_error(run_file: Path, tmp_path: Path) -> None:
    done = fedsec("run", run_file, "--engine", "local", "--resume")
    assert done.code == 2
    assert "--resume: no unfinished run 'short' with this configuration" in done.err
    assert "Traceback" not in done.err


def test_resuming_a_finished_run_s_folder_shows_its_result_again(run_file: Path) -> None:
    first = last_json(fedsec("run", run_file, "--engine", "local", "--quiet", "--json").out)
    again = fedsec("run", first["folder"], "--engine", "local", "--resume", "--quiet", "--json")
    assert last_json(again.out) == first


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "missing.toml"], "missing.toml: No such file or directory; give a TOML file"),
        (["run", "--engine", "spark"], "--engine: found 'spark'; expected 'ray', 'cohort' or 'local'"),
        (["run", "--set", "data.dataset=nowhere"], "data.dataset: found 'nowhere'"),
        (["run", "--set", "data.dataset=dermamnist"], "Set FEDSEC_DATA to a folder that holds dermamnist/"),
        (["run", "--set", "attack.source=12"], "attack.source: found 12; expected a class of digits, 0 to 9"),
        (["run", "--set", "data.q"], "expected key=value"),
        (["run", "."], "this is a folder; give --resume"),
        (["reproduce", "missing.toml"], "No such file"),
        (
            ["reproduce", "missing.toml", "--engine", "local", "--together", "2"],
            "--together: found 2 with --engine local; expected --engine cohort, or 1",
        ),
        (["report", "nothing-here"], "no finished run at or below nothing-here"),
        (["data", "check", "nowhere"], "data.dataset: found 'nowhere'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_two(
    arguments: list[str], expected: str, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = fedsec(*arguments)
    assert done.code == 2
    assert expected in done.err
    assert len(done.err.splitlines()) == 1
    assert not runs.exists()


def test_a_full_disk_ends_a_run_with_one_line_and_resume_goes_on(
    run_file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from fedsec import federation
    from fedsec.runs.checkpoint import save_checkpoint

    def full(path: Path, checkpoint: Any) -> None:
        if checkpoint.server_round == 2:
            raise OSError(28, "No space left on device")
        save_checkpoint(path, checkpoint)

    with monkeypatch.context() as patch:
        patch.setattr(federation, "save_checkpoint", full)
        done = fedsec("run", run_file, "--engine", "local", "--quiet")
    assert done.code == 1
    assert done.err.startswith("fedsec: [Errno 28] No space left on device")
    assert (
        "No space left on device; every finished round is kept, go on with: fedsec run --resume"
        in capfd.readouterr().err
    )
    whole = last_json(fedsec("run", run_file, "--engine", "local", "--quiet", "--json").out)
    resumed = last_json(fedsec("run", run_file, "--engine", "local", "--quiet", "--json", "--resume").out)
    assert resumed["model_sha256"] == whole["model_sha256"]


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


def test_report_compares_any_runs(run_file: Path, runs: Path, tmp_path: Path) -> None:
    for strategy in ("fedavg", "flame"):
        fedsec("run", run_file, "--engine", "local", "--quiet", "--set", f"defense.strategy={strategy}")
    done = fedsec("report", runs, "--out", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    assert {row["defense.strategy"] for row in last_json(done.out)} == {"fedavg", "flame"}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert not re.search(r'(src|href)="(?!data:)', page)


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


def test_list_names_everything_with_options_and_source() -> None:
    entries = json.loads(fedsec("list", "--json").out)
    kinds = {kind: {e["name"] for e in entries if e["kind"] == kind} for kind in {e["kind"] for e in entries}}
    assert kinds["strategy"] == set(STRATEGIES)
    assert set(kinds) == {"data set", "partition", "model", "attack", "strategy", "setting"}
    sources = {entry["name"]: entry["source"] for entry in entries if entry["kind"] != "setting"}
    assert [name for name, source in sources.items() if not source] == ["own", "none"]
    assert sources["digits"] == "scikit-learn"
    options = [option for entry in entries for option in entry["options"]]
    assert all(option["about"] and option["default"] and option["type"] for option in options)
    krum = next(entry for entry in entries if entry["name"] == "krum")
    assert [option["key"] for option in krum["options"]] == [
        "defense.num-malicious", "defense.neighbours", "defense.distance",
    ]  # fmt: skip


def test_list_explains_every_key_with_type_default_and_bounds() -> None:
    entries = json.loads(fedsec("list", "--json").out)
    settings = {o["key"]: o for entry in entries if entry["kind"] == "setting" for o in entry["options"]}
    assert list(settings) == known_keys()
    found = {key: [settings[key][name] for name in ("type", "default", "bounds")] for key in settings}
    assert found["data.q"] == ["number", "0.3", "above 0, at most 1"]
    assert found["federation.rounds"] == ["whole number", "16", "at least 1, at most 1000000"]
    assert found["run.resume"] == ["true or false", "false", ""]
    assert found["run.output"][:2] == ["text", '""']
    assert found["defense.distance"] == ["choice", "not set", "squared, euclidean"]
    assert found["defense.clip"][0] == "number or choice"
    assert found["defense.clip"][2].endswith(" or median")


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_list_breaks_no_key_and_no_name(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    done = fedsec("list")
    assert done.code == 0, done.err
    lines = [line.strip() for line in done.out.splitlines()]
    assert set(known_keys()) <= {line.partition(" = ")[0] for line in lines}
    assert set(STRATEGIES) <= set(lines)
    assert "Strategies (defense.strategy)" in lines
    assert max(map(len, done.out.splitlines())) <= max(int(columns), 60)


def test_data_check_says_what_is_in_a_data_set() -> None:
    found = json.loads(fedsec("data", "check", "digits", "--json").out)
    assert found["train"]["examples"] == 1437
    assert found["test"]["image"] == [1, 28, 28]
    assert sum(found["train"]["per_class"]) == 1437
    assert "classes: ['0', '1'" in fedsec("data", "check", "digits").out


def test_help_explains_every_command() -> None:
    text = fedsec("--help").out
    assert all(command in text for command in ("run", "reproduce", "report", "list", "data"))


def test_the_version_is_printed() -> None:
    done = fedsec("--version")
    assert (done.code, done.out) == (0, f"fedsec {__version__}\n")
