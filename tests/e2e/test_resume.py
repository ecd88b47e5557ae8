"""``kill -9`` at any moment, then ``--resume``: the same model, no round lost or done twice, every file readable."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fedsec.runs.checkpoint import load_checkpoint
from fedsec.runs.record import RunFolder
from tests import processes

pytestmark = pytest.mark.slow

ROUNDS = 60
RAY_KILLS = int(os.environ.get("FEDSEC_RAY_KILLS", "2"))

RUN_FILE = f"""
[run]
name = "killed"
[data]
dataset = "digits"
[federation]
rounds = {ROUNDS}
local-epochs = 1
batch-size = 16
[attack]
kind = "backdoor"
[defense]
strategy = "flame"
"""


def start(file: Path, engine: str, runs: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fedsec", "run", str(file), "--engine", engine, "--quiet", "--json", *arguments]
    environment = os.environ | {"FEDSEC_RUNS": str(runs)}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    return result


def rounds_done(runs: Path) -> int:
    return sum(text.count("\n") for file in runs.rglob("rounds.jsonl") for text in [file.read_text()])


def kill_after_progress(process: subprocess.Popen[str], runs: Path, moments: random.Random) -> bool:
    """Kill the process at a random moment after its next round; tell whether it was still alive."""
    before = rounds_done(runs)
    while process.poll() is None and rounds_done(runs) <= before:
        time.sleep(0.02)
    time.sleep(moments.random() * 0.3)
    alive = process.poll() is None
    if alive:
        os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    return alive


@pytest.mark.parametrize(("engine", "kills"), [("local", 20), ("ray", RAY_KILLS), ("cohort", RAY_KILLS)])
@pytest.mark.timeout(1800)
def test_a_killed_run_goes_on_to_the_same_model(engine: str, kills: int, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(RUN_FILE)
    reference = finish(start(file, "local", tmp_path / "whole"))
    runs, moments, killed = tmp_path / "parts", random.Random(20), 0
    process = start(file, engine, runs)
    for _ in range(kills):
        killed += kill_after_progress(process, runs, moments)
        [folder] = [RunFolder(path.parent) for path in runs.rglob("config.toml")]
        checkpoint = load_checkpoint(folder.checkpoint)
        assert checkpoint is None or checkpoint.server_round in (len(folder.rounds()) - 1, len(folder.rounds()) - 2)
        processes.end("FEDSEC_RUNS", str(runs))
        process = start(file, engine, runs, "--resume")
    resumed = finish(process)
    assert killed == kills
    assert resumed["model_sha256"] == reference["model_sha256"]
    assert resumed["final"] == reference["final"]
    [folder] = [RunFolder(path.parent) for path in runs.rglob("config.toml")]
    assert [record["round"] for record in folder.rounds()] == list(range(ROUNDS + 1))
    assert not list(runs.rglob("*.partial"))


@pytest.mark.parametrize("engine", ["ray", "cohort"])
def test_nothing_is_left_running_after_a_kill_of_ray_s_driver(engine: str, tmp_path: Path) -> None:
    file, runs = tmp_path / "run.toml", tmp_path / "runs"
    file.write_text(RUN_FILE)
    process = start(file, engine, runs)
    assert kill_after_progress(process, runs, random.Random(1))
    deadline = time.monotonic() + 180  # two of Ray's agents take a minute to notice
    while processes.with_environment("FEDSEC_RUNS", str(runs)) and time.monotonic() < deadline:
        time.sleep(0.5)
    left = processes.with_environment("FEDSEC_RUNS", str(runs))
    processes.end("FEDSEC_RUNS", str(runs))
    assert left == []


@pytest.mark.parametrize("engine", ["ray", "cohort"])
def test_ctrl_c_ends_a_run_on_ray_at_once_and_says_how_to_go_on(engine: str, tmp_path: Path) -> None:
    file, runs = tmp_path / "run.toml", tmp_path / "runs"
    file.write_text(RUN_FILE)
    process = start(file, engine, runs)
    while process.poll() is None and rounds_done(runs) < 2:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=20)
    processes.end("FEDSEC_RUNS", str(runs))
    assert process.returncode == 130
    assert "go on with: fedsec run --resume" in err


def test_a_run_that_is_in_progress_is_not_run_twice(tmp_path: Path) -> None:
    file, runs = tmp_path / "run.toml", tmp_path / "runs"
    file.write_text(RUN_FILE)
    process = start(file, "local", runs)
    while process.poll() is None and rounds_done(runs) < 1:
        time.sleep(0.05)
    second = start(file, "local", runs, "--resume")
    _, err = second.communicate(timeout=60)
    process.kill()
    process.communicate()
    assert second.returncode == 1
    assert "this run is in progress in another process" in err
