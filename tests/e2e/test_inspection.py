"""Runs whose defense looks into models: what the record has, kill and resume, and what is wrong with data.public."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fedsec.progress import ProgressObserver
from fedsec.runs.record import RunFolder
from fedsec.runs.rounds import RoundRecord
from tests.command_line import fedsec

RUN_FILE = """
[run]
name = "inspected"
[data]
dataset = "digits"
public = 200
[federation]
clients = 5
rounds = {rounds}
local-epochs = 4
batch-size = 8
[attack]
kind = "backdoor"
sources = "all"
share = 0.4
[defense]
strategy = "gancrop"
shadows = 40
false-alarms = 0.5
recovery-steps = 150
unlearning-epochs = 4
"""


def run_file(folder: Path, rounds: int = 3) -> Path:
    file = folder / "run.toml"
    file.write_text(RUN_FILE.format(rounds=rounds))
    return file


def the_run(runs: Path) -> RunFolder:
    [folder] = [RunFolder(path.parent) for path in runs.rglob("config.toml")]
    return folder


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "seconds"}


def inspections(folder: RunFolder) -> list[dict[str, Any]]:
    return [without_times(line["inspection"]) for line in folder.rounds()]


def test_every_round_has_what_was_found_in_its_models(tmp_path: Path, runs: Path) -> None:
    done = fedsec("run", run_file(tmp_path), "--engine", "local", "--quiet", "--json")
    assert done.code == 0, done.err
    folder = the_run(runs)
    before, *rounds = folder.rounds()
    assert before["inspection"] == {}
    assert [line["skipped"] for line in rounds] == [None] * 3
    found = [line["inspection"] for line in rounds]
    assert found[0]["shadows"] >= 20  # the clean ones; those whose backdoor did not take are left out
    assert any(one["suspects"] for one in found)
    repairs = [repair for one in found for repair in one["repairs"] if repair["outcome"] == "repaired"]
    assert folder.config().attack.target in {repair["target"] for repair in repairs}
    assert all(repair["success_after"] < 30.0 < 60.0 <= repair["success_before"] for repair in repairs)
    for line, one in zip(rounds, found, strict=True):
        assert one["suspects"] == sum(client["weight"] == 0.0 for client in line["clients"])
        assert len(one["repairs"]) == bool(one["suspects"])
        assert set(one["models"]) <= {"benign", "repaired"}
        assert all(set(values) == {"MA", "BA"} for values in one["models"].values())
        assert set(one["seconds"]) >= {"learn", "detect", "repair"}
    about = folder.environment()
    assert (about["strategy"], about["options"]["shadows"]) == ("Gancrop", 40)


def start(file: Path, runs: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fedsec", "run", str(file), "--engine", "local", "--quiet", "--json", *arguments]
    environment = os.environ | {"FEDSEC_RUNS": str(runs)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    return result


class PowerCutError(Exception):
    """Ends a run between two rounds."""


def test_a_run_that_ends_after_a_round_goes_on_to_the_same_numbers(
    tmp_path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, how = run_file(tmp_path), ("--engine", "local", "--quiet")
    finished = ProgressObserver.finished_round

    def cut(observer: ProgressObserver, record: RoundRecord) -> None:
        finished(observer, record)
        if record.round == 2:
            raise PowerCutError

    assert fedsec("run", file, *how, "--set", "run.name=whole").code == 0
    with monkeypatch.context() as patch:
        patch.setattr(ProgressObserver, "finished_round", cut)
        with pytest.raises(PowerCutError):
            fedsec("run", file, *how)
    assert fedsec("run", file, *how, "--resume").code == 0
    whole, parts = the_run(runs / "whole"), the_run(runs / "inspected")
    assert inspections(parts) == inspections(whole)
    assert (parts.summary() or {})["model_sha256"] == (whole.summary() or {})["model_sha256"]


@pytest.mark.slow
def test_a_run_that_is_killed_after_a_round_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    file, whole, parts = run_file(tmp_path, rounds=4), tmp_path / "whole", tmp_path / "parts"
    reference = finish(start(file, whole))
    process = start(file, parts)
    while process.poll() is None and sum(len(path.read_text().splitlines()) for path in parts.rglob("*.jsonl")) < 3:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert the_run(parts).summary() is None
    resumed = finish(start(file, parts, "--resume"))
    assert resumed["model_sha256"] == reference["model_sha256"]
    assert resumed["final"] == reference["final"]
    assert inspections(the_run(parts)) == inspections(the_run(whole))


@pytest.mark.slow
def test_on_ray_the_same_is_found(tmp_path: Path) -> None:
    file, found = run_file(tmp_path), []
    for engine in ("local", "ray", "cohort"):
        runs = tmp_path / engine
        finish(start(file, runs, "--engine", engine))
        found.append((inspections(the_run(runs)), (the_run(runs).summary() or {})["model_sha256"]))
    assert found[1:] == found[:1] * 2


@pytest.mark.parametrize(
    ("public", "problem"),
    [
        (0, "data.public: found 0 with defense.strategy = 'gancrop'; expected a number of images, such as 1000"),
        (5, "data.public: found 5, without an image of "),
        (9, "data.public: found 9, without an image of "),
        (100_000, "data.public: found 100000, which leaves no test image of '0', '1', '2' and 7 more classes"),
        (-1, "data.public: found -1; expected "),
    ],
)
def test_too_few_or_too_many_public_images_are_one_line_that_names_the_key(
    public: int, problem: str, tmp_path: Path, runs: Path
) -> None:
    done = fedsec("run", run_file(tmp_path), "--engine", "local", "--set", f"data.public={public}")
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert problem in done.err
    assert not list(runs.rglob("config.toml"))


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("model.name", "dcgan", "defense.strategy: found 'gancrop' with model.name = 'dcgan'; expected a classifier"),
        ("defense.shadows", "19", "defense.shadows: found 19"),
        ("defense.repair", "some", "defense.repair: found 'some'"),
        ("defense.models", "each", "gancrop has no such option"),
    ],
)
def test_what_does_not_go_with_it_is_refused_before_anything_starts(
    key: str, value: str, problem: str, tmp_path: Path
) -> None:
    done = fedsec("run", run_file(tmp_path), "--engine", "local", "--set", f"{key}={value}")
    assert done.code == 2
    assert problem in done.err


def test_public_images_are_set_aside_for_defenses_that_need_none_too(tmp_path: Path, runs: Path) -> None:
    file = tmp_path / "plain.toml"
    text = RUN_FILE.partition("[defense]")[0].format(rounds=1) + '[defense]\nstrategy = "fedavg"\n'
    file.write_text(text.replace("public = 200", "public = 5"))
    assert fedsec("run", file, "--engine", "local", "--quiet").code == 0
    assert [line["inspection"] for line in the_run(runs).rounds()] == [{}, {}]
