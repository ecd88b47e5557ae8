"""A damaged file of a record is one line that names it, and says what would do."""

from pathlib import Path

import pytest

from fedsec.runs.config import RunConfig
from fedsec.runs.record import RecordError, RunFolder, unfinished_run
from fedsec.runs.rounds import RoundRecord
from tests.command_line import fedsec


def recorded() -> RunFolder:
    folder = RunFolder.create(RunConfig())
    for server_round in range(3):
        folder.append_round(RoundRecord(round=server_round, MA=90.0, BA=None, loss=0.1, class_accuracy=[90.0]))
    return folder


@pytest.mark.parametrize("text", ['{"final": {"MA": 9', "", "null", "\x00\x00", "\udcff"])
def test_a_damaged_summary_is_named_with_what_to_do(runs: Path, text: str) -> None:
    folder = recorded()
    (folder.path / "summary.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(RecordError) as refusal:
        folder.summary()
    assert str(refusal.value).startswith(f"{folder.path / 'summary.json'}: damaged (")
    assert f"fedsec run --resume {folder.path}" in str(refusal.value)
    with pytest.raises(RecordError):
        unfinished_run(RunConfig())


def test_a_damaged_summary_of_other_numbers_does_not_matter(runs: Path) -> None:
    folder = recorded()
    (folder.path / "summary.json").write_text("{")
    (folder.path / "config.toml").write_text("[run]\nseed = 5\n")
    assert unfinished_run(RunConfig()) is None


@pytest.mark.parametrize("text", ['{"round": 1, "MA": 9', "", "[]", "\x00\x00"])
def test_a_damaged_line_is_named_by_its_number(runs: Path, text: str) -> None:
    folder = recorded()
    lines = (folder.path / "rounds.jsonl").read_text().splitlines()
    lines[1] = text
    (folder.path / "rounds.jsonl").write_text("".join(line + "\n" for line in lines))
    with pytest.raises(RecordError) as refusal:
        folder.rounds()
    assert str(refusal.value).startswith(f"{folder.path / 'rounds.jsonl'}, line 2: damaged (")
    assert str(refusal.value).endswith(f"bring it back from a copy, or delete {folder.path} and do the run again")
    folder.start_over()
    assert folder.rounds() == []


@pytest.mark.parametrize("command", ["report", "resume"])
def test_the_command_line_says_it_in_one_line(runs: Path, tmp_path: Path, command: str) -> None:
    folder = recorded()
    (folder.path / "summary.json").write_text('{"final"')
    arguments = {
        "report": ["report", str(folder.path), "--out", str(tmp_path / "report")],
        "resume": ["run", str(folder.path), "--resume", "--engine", "local", "--quiet"],
    }
    done = fedsec(*arguments[command])
    assert done.code == 1
    assert "Traceback" not in done.err
    assert f"fedsec: {folder.path / 'summary.json'}: damaged" in done.err


def test_half_written_files_are_removed_but_for_the_one_that_needs_no_lock(runs: Path) -> None:
    folder = recorded()
    folder.checkpoint.parent.mkdir()
    left = [folder.checkpoint.parent / ".latest.safetensors.a1.partial", folder.path / ".rounds.jsonl.b2.partial"]
    kept = folder.path / ".config.toml.c3.partial"
    for path in (*left, kept):
        path.touch()
    folder.remove_partial_files()
    assert [path.exists() for path in left] == [False, False]
    assert kept.exists()
