"""The command that counts whom defenses let in, by what the model had before."""

import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import tipping
from benchmarks.tipping import Round, rounds_of, table
from fedsec.runs.record import RunFolder
from fedsec.runs.rounds import RoundRecord
from tests.report.finished import config, record


def line(number: int, ba: float | None, *weights: float) -> RoundRecord:
    clients: list[dict[str, Any]] = [
        {"client": place, "weight": weight, "role": "malicious"} for place, weight in enumerate(weights)
    ]
    clients.append({"client": 9, "weight": 1.0, "role": "honest"})
    return RoundRecord(round=number, MA=90.0, BA=ba, loss=1.0, class_accuracy=[], clients=clients)


def run(path: Path) -> RunFolder:
    folder = record(config("flame"), path, 90.0, 1.0)
    folder.keep_rounds(0)
    for each in (line(1, 5.0, 0.5, 0.5), line(2, 10.0, 0.5, 0.5), line(3, 90.0, 0.0, 0.5), line(4, None, 0.5, 0.5)):
        folder.append_round(each)
    folder.append_round(line(5, 1.0, 0.5, 0.5))
    return folder


def test_rounds_are_told_with_the_ba_of_the_model_before_them(tmp_path: Path) -> None:
    found = rounds_of(run(tmp_path / "run"))
    assert found == [Round("flame", 10.0, 0.5), Round("flame", 90.0, 1.0)]  # not the first two; not after no BA


def test_the_table_by_hand() -> None:
    rounds = [Round("krum", 1.0, 0.0), Round("krum", 19.0, 0.5), Round("krum", 20.0, 1.0), Round("krum", 81.0, 1.0)]
    assert table(rounds)[1:] == [
        ("krum", "BA below 20", "2", "25.0 %", "50.0 %"),
        ("krum", "between", "1", "100.0 %", "100.0 %"),
        ("krum", "BA above 80", "1", "100.0 %", "100.0 %"),
    ]


def test_a_folder_without_runs_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tipping", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        tipping.main()
    assert stopped.value.code == 2
    assert "no finished run at or below" in capsys.readouterr().err


def test_the_command_prints_and_keeps_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path / "runs" / "run")
    monkeypatch.setattr(sys, "argv", ["tipping", str(tmp_path / "runs"), "--out", str(tmp_path / "kept.md")])
    tipping.main()
    assert "| flame | BA above 80 | 1 | 100.0 % | 100.0 % |" in capsys.readouterr().out
    assert (tmp_path / "kept.md").read_text().startswith("| defense | model before |")
