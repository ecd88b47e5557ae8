"""``python -m tests.deployment.fault_runs``: short federations, each with one fault at a random moment, counted.

Needs root (for disks that are small) and a C compiler (for clocks). Writes a table and one line for each run; runs
whose line is in the folder are not done again.
"""

import argparse
import contextlib
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedsec.runs.checkpoint import CheckpointError, load_checkpoint
from fedsec.runs.record import RunFolder
from tests.deployment.clock import Clock, compiled
from tests.deployment.credentials import Credentials, make_credentials
from tests.deployment.faults import FAULTS, VICTIM, scene_of, server_apps
from tests.deployment.federation import Deployment, Host

NODES, ROUNDS = 2, 2
RUN_FILE = f"""
[run]
name = "faulty"
resume = RESUME
[data]
dataset = "digits"
partition = "iid"
[federation]
clients = {NODES}
rounds = {ROUNDS}
local-epochs = 1
batch-size = 64
learning-rate = 0.01
momentum = 0.9
momentum-buffer = "kept"
min-clients = 1
node-timeout = 40.0
shortage = "wait"
round-timeout = 90.0
[attack]
kind = "none"
[defense]
strategy = "median"
"""
LONGEST, LONGEST_START = 240.0, 60.0
"""Seconds that a run, and the start of the process that aggregates, may take."""

RESUMPTIONS = 4


UNHURRIED = {"FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.5"}
"""Several runs go on at once, and share a machine that asks for work all the time otherwise."""


@dataclass(frozen=True)
class Outcome:
    """What became of one run.

    Attributes:
        fault: what happened to it.
        after: seconds from its first record to the fault.
        ended: ``finished``, ``resumed`` or ``lost``.
        rounds_lost: finished rounds that had to be done again, beyond the one in progress.
        finite: whether no model in a checkpoint held NaN or infinity.
        traces: where the record tells that something happened; ``others dropped`` are clients that a busy machine was
            too slow for.
        same_model: whether it ended with the model of a run that nothing happened to.
        seconds: of the whole run.
    """

    fault: str
    after: float
    ended: str
    rounds_lost: int
    finite: bool
    traces: tuple[str, ...]
    same_model: bool
    seconds: float


def one_run(fault: str, seed: int, credentials: Credentials, library: Path, folder: Path, reference: str) -> Outcome:
    """Run one federation with one fault; go on with it where it ended before its time."""
    moments, start = random.Random(f"{fault} {seed}"), time.monotonic()
    fresh, again = folder / "fresh.toml", folder / "again.toml"
    folder.mkdir(parents=True)
    fresh.write_text(RUN_FILE.replace("RESUME", "false"))
    again.write_text(RUN_FILE.replace("RESUME", "true"))
    clocks = {whose: Clock(library, folder / f"{whose}.clock") for whose in ("server", "node")}
    for clock in clocks.values():
        clock.jump(0)
    host = Host(enter=clocks["server"].enter)
    with (
        Deployment(folder / "d", credentials, host, UNHURRIED) as deployment,
        scene_of(deployment, clocks, NODES, moments) as scene,
    ):
        run, begun = deployment.start_run(fresh), time.monotonic()
        while not list(deployment.runs.rglob("rounds.jsonl")) and time.monotonic() < begun + LONGEST:
            time.sleep(0.1)
        after = moments.uniform(0.0, 15.0)
        time.sleep(after)
        record = RunFolder(deployment.record())
        FAULTS[fault](scene, moments.uniform(2.0, 10.0))
        wait_for_end(deployment, record, 0.0)
        lost, resumed, finite = 0, 0, is_finite(record)
        while record.summary() is None and resumed < RESUMPTIONS:
            run.kill()
            finished = len(record.rounds()) - 1
            resumed += 1
            run = deployment.start_run(again)
            wait_for_end(deployment, record, LONGEST_START)
            lost = max(lost, rounds_lost(record, finished))
            finite = finite and is_finite(record)
        run.kill()
        summary = record.summary()
        ended = "lost" if summary is None else "resumed" if resumed else "finished"
        same = summary is not None and summary["model_sha256"] == reference
        found = traces(record)
    return Outcome(fault, round(after, 1), ended, lost, finite, found, same, round(time.monotonic() - start, 1))


def wait_for_end(deployment: Deployment, record: RunFolder, start: float) -> None:
    """Wait until the run is finished, or nobody aggregates any more, for whose start there are ``start`` seconds."""
    deadline, begun, idle = time.monotonic() + LONGEST, time.monotonic() + start, 0
    while record.summary() is None and time.monotonic() < deadline:
        working = bool(server_apps(deployment))
        begun = 0.0 if working else begun
        idle = 0 if working else idle + 1
        if idle > 2 and time.monotonic() > begun:
            return
        time.sleep(2.0)


def starts_of(record: RunFolder) -> int:
    """Return how often the run has been started."""
    try:
        return len(record.environment()["starts"])
    except (OSError, ValueError, KeyError):
        return 0


def rounds_lost(record: RunFolder, finished: int) -> int:
    """Return how many of the rounds that were in the record a resumed run has done again, beyond the last."""
    try:
        went_on_after = record.environment()["starts"][-1]["round"]
    except (OSError, ValueError, KeyError):
        return 0
    return max(0, finished - went_on_after - 1)


def is_finite(record: RunFolder) -> bool:
    """Tell whether every value of the checkpoints that can be read is a finite number. It changes none of them."""
    for file in record.checkpoint.parent.glob("*.safetensors"):
        with contextlib.suppress(CheckpointError):
            checkpoint = load_checkpoint(file)
            if checkpoint is not None and not all(np.isfinite(array).all() for array in checkpoint.arrays.values()):
                return False
    return True


def traces(record: RunFolder) -> tuple[str, ...]:
    """Return where the record tells that something happened."""
    rounds, found = record.rounds(), set()
    if starts_of(record) > 1:
        found.add("starts")
    for line in rounds:
        dropped = {entry["node_id"] for entry in line["dropped"]}
        found |= ({"dropped"} if VICTIM in dropped else set()) | ({"others dropped"} if dropped - {VICTIM} else set())
        found |= {"notes"} if line["notes"] else set()
        found |= {"events"} if line["events"] else set()
        found |= {"skipped"} if line["skipped"] else set()
    if not all(line["MA"] is not None and math.isfinite(line["MA"]) for line in rounds):
        raise RuntimeError(f"{record.path}: MA is no number")
    return tuple(sorted(found))


def undisturbed(folder: Path) -> str:
    """Return the hash of the model of a run that nothing happens to."""
    folder.mkdir(parents=True)
    (folder / "run.toml").write_text(RUN_FILE.replace("RESUME", "false"))
    command = [sys.executable, "-m", "fedsec", "run", folder / "run.toml", "--engine", "local", "--quiet", "--json"]
    environment = os.environ | {"FEDSEC_STATE": str(folder / "state"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return str(result["model_sha256"])


def already_done(lines: Path) -> dict[int, Outcome]:
    """Return the runs that a file of lines tells of, by their number."""
    if not lines.exists():
        return {}
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    return {line.pop("run"): Outcome(**line | {"traces": tuple(line["traces"])}) for line in found}


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the counts of each fault in markdown."""
    head = "| fault | runs | finished | resumed | lost | rounds lost | NaN | same model | in the record | no effect |"
    lines = [head, "| --- |" + " --- |" * 9]
    for fault in FAULTS:
        runs = [outcome for outcome in outcomes if outcome.fault == fault]
        if not runs:
            continue
        ended = [sum(run.ended == how for run in runs) for how in ("finished", "resumed", "lost")]
        silent = sum(not run.traces and run.same_model and run.ended == "finished" for run in runs)
        cells = [
            len(runs), *ended, max(run.rounds_lost for run in runs), sum(not run.finite for run in runs),
            sum(run.same_model for run in runs), sum(bool(run.traces) for run in runs), silent,
        ]  # fmt: skip
        lines.append(f"| {fault} | " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Do the runs that are asked for, and write what came of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--fault", choices=list(FAULTS), action="append", help="only this one; repeatable")
    parser.add_argument("--out", type=Path, help="folder for faults.md and faults.jsonl")
    given = parser.parse_args()
    kinds = given.fault or list(FAULTS)
    top = Path(tempfile.mkdtemp(prefix="fedsec-faults-"))
    credentials, reference = make_credentials(top / "certificates", "127.0.0.1"), undisturbed(top / "undisturbed")
    library = compiled(top)
    done = already_done(given.out / "faults.jsonl") if given.out else {}

    def do(number: int) -> None:
        place, fault = top / f"run{number}", kinds[number % len(kinds)]
        try:
            outcome = one_run(fault, number, credentials, library, place, reference)
        except Exception as error:
            print(f"run {number}, {fault}: {type(error).__name__}: {error}; see {place}", flush=True)
            raise
        done[number] = outcome
        line = json.dumps({"run": number, **asdict(outcome)})
        print(line, flush=True)
        if given.out:
            given.out.mkdir(parents=True, exist_ok=True)
            with (given.out / "faults.jsonl").open("a") as file:
                file.write(line + "\n")
        if outcome.ended != "lost" and outcome.finite and (outcome.traces or outcome.same_model):
            shutil.rmtree(place)

    with ThreadPoolExecutor(given.at_once) as threads:
        list(threads.map(do, [number for number in range(given.runs) if number not in done]))
    text = table(list(done.values()))
    print(text)
    if given.out:
        (given.out / "faults.md").write_text(text)


if __name__ == "__main__":
    main()
