"""Engine "cohort" through Ray: the model of engine "local", whatever becomes of an actor; nothing is left running."""

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fedsec.client_app import build_client
from fedsec.clients import BenignClient
from fedsec.engine.cohort import CohortFleet
from fedsec.engine.pool import CohortPool, ray_pool
from fedsec.engine.sweep import Sweep
from fedsec.engine.worker import MakeClient
from fedsec.federation import run_federation
from fedsec.runs.config import RunConfig
from fedsec.runs.record import RunFolder
from tests import processes
from tests.engine.conftest import Silent, config, record, run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray closes neither its files nor its processes itself
]

PATIENCE = 60.0
CONFIG = config(federation__device="cpu", federation__local_epochs=1)


@pytest.fixture(scope="module")
def pool(cache: Path) -> Iterator[CohortPool]:
    with ray_pool("cpu") as opened:
        opened.start()
        yield opened
    gc.collect()


@pytest.fixture
def reference(runs: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return summary and record of the run on engine "local"."""
    summary, folder, _ = run(CONFIG, "local")
    return summary, record(folder)


def in_pool(
    pool: CohortPool, configuration: RunConfig = CONFIG, make: MakeClient = build_client
) -> tuple[dict[str, Any], RunFolder]:
    folder = RunFolder.create(configuration)
    fleet = CohortFleet(configuration, Sweep(pool), make_client=make)
    return run_federation(fleet, configuration, folder, Silent()), folder


def test_run_after_run_gives_the_model_of_the_local_engine(pool: CohortPool, reference: Any) -> None:
    for _ in range(2):
        summary, folder = in_pool(pool)
        assert summary["model_sha256"] == reference[0]["model_sha256"]
        assert record(folder) == reference[1]
    [start] = folder.environment()["starts"]
    assert start["workers"] == pool.workers
    assert set(start["examples_per_second"]) >= {"1"}


@dataclass(frozen=True)
class Waiting:
    """Makes clients of which one says where it is in round 2, the first time, and waits for its end."""

    told: Path
    waits: float

    def __call__(self, configuration: RunConfig, partition: int) -> BenignClient:
        client = build_client(configuration, partition)
        return WaitingClient(client, self) if partition == 3 else client


class WaitingClient(BenignClient):
    def __init__(self, client: BenignClient, waiting: Waiting) -> None:
        super().__init__(client.task)
        self.client, self.waiting = client, waiting

    def fit(self, parameters: Any, config: Any) -> Any:
        if config["server-round"] == 2 and not self.waiting.told.exists():
            partial = self.waiting.told.with_suffix(".partial")
            partial.write_text(str(os.getpid()))
            partial.rename(self.waiting.told)
            time.sleep(self.waiting.waits)
        return self.client.fit(parameters, config)


def test_an_actor_that_is_killed_in_mid_round_changes_no_number(
    pool: CohortPool, reference: Any, tmp_path: Path
) -> None:
    waiting = Waiting(tmp_path / "pid", PATIENCE)

    def kill() -> int:
        deadline = time.monotonic() + PATIENCE
        while not waiting.told.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process = int(waiting.told.read_text())
        os.kill(process, signal.SIGKILL)
        return process

    with ThreadPoolExecutor(1) as thread:
        killed = thread.submit(kill)
        summary, folder = in_pool(pool, make=waiting)
    assert killed.result() != os.getpid()
    assert summary["model_sha256"] == reference[0]["model_sha256"]
    assert record(folder) == reference[1]


def test_a_client_that_sleeps_past_the_time_out_is_given_up_and_the_run_goes_on(
    pool: CohortPool, tmp_path: Path
) -> None:
    in_pool(pool)  # workers that were replaced in an earlier test start here, and not within the time-out
    impatient = config(federation__device="cpu", federation__local_epochs=1, federation__round_timeout=20.0)
    _, folder = in_pool(pool, impatient, Waiting(tmp_path / "pid", 600.0))
    first, second, third = folder.rounds()[1:]
    assert (first["dropped"], third["dropped"]) == ([], [])
    assert {client["reason"] for client in second["dropped"]} == {"no answer"}
    assert 3 in {client["node_id"] for client in second["dropped"]}
    assert len(second["dropped"]) + len(second["clients"]) == 10


SHORT = """
[data]
dataset = "digits"
[federation]
rounds = 2
local-epochs = 1
batch-size = 32
[attack]
kind = "backdoor"
[defense]
strategy = "flame"
"""

TABLE = f"""
title = "A tiny table"
seeds = [0, 1]
[axes]
"defense.strategy" = ["fedavg", "flame"]
{SHORT}
[[published]]
at = {{ "defense.strategy" = "flame" }}
MA = [90.0, 1.0]
"""


def fedsec(runs: Path, *arguments: object) -> Any:
    """Call the command line in a process of its own; return the JSON of its last line."""
    command = [sys.executable, "-m", "fedsec", *map(str, arguments), "--quiet", "--json"]
    environment = os.environ | {"FEDSEC_RUNS": str(runs)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def assert_nothing_is_left(runs: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while processes.with_environment("FEDSEC_RUNS", str(runs)) and time.monotonic() < deadline:
        time.sleep(0.2)
    left = processes.with_environment("FEDSEC_RUNS", str(runs))
    processes.end("FEDSEC_RUNS", str(runs))
    assert left == []


def test_fedsec_run(tmp_path: Path) -> None:
    file, runs = tmp_path / "short.toml", tmp_path / "runs"
    file.write_text(SHORT)
    ours, local = (fedsec(runs, "run", file, "--engine", engine) for engine in ("cohort", "local"))
    assert_nothing_is_left(runs)
    assert ours["model_sha256"] == local["model_sha256"]
    assert RunFolder(Path(ours["folder"])).environment()["engine"] == "cohort"


def test_fedsec_reproduce(tmp_path: Path) -> None:
    file, runs = tmp_path / "tiny.toml", tmp_path / "runs"
    file.write_text(TABLE)
    cells = fedsec(runs, "reproduce", file, "--engine", "cohort", "--together", 4)
    assert_nothing_is_left(runs)
    local = fedsec(tmp_path / "local", "reproduce", file, "--engine", "local")
    for ours, theirs in zip(cells, local, strict=True):
        assert ours.pop("seconds_per_round") > 0
        theirs.pop("seconds_per_round")
        assert ours == theirs
