"""The command line as a person uses it, on the local engine."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fedsec import __version__
from fedsec.runs.config import known_keys
from fedsec.strategies import STRATEGIES
from tests.command_line import fedsec, last_json

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


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    file = tmp_path / "short.toml"
    file.write_text(RUN)
    return file


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


def test_report_compares_any_runs(run_file: Path, runs: Path, tmp_path: Path) -> None:
    for strategy in ("fedavg", "flame"):
        fedsec("run", run_file, "--engine", "local", "--quiet", "--set", f"defense.strategy={strategy}")
    done = fedsec("report", runs, "--out", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    assert {row["defense.strategy"] for row in last_json(done.out)} == {"fedavg", "flame"}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert not re.search(r'(src|href)="(?!data:)', page)


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
