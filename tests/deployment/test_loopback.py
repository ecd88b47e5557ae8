"""Five SuperNodes with TLS and node keys, two of them attackers, give what a simulation of the same file gives."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fedsec.runs.loading import load_run_file
from fedsec.scenario import malicious
from tests.deployment.federation import Deployment

pytestmark = pytest.mark.slow

RUN_FILE = """
[run]
name = "five"
[data]
dataset = "digits"
balance = "cgan"
fill = "mean"
[gan]
steps = 20
width = 8
[federation]
clients = 5
rounds = 3
[attack]
kind = "backdoor"
share = 0.4
[defense]
strategy = "flame"
"""

TOLERANCE = 0.0
"""Points of MA and BA. On one machine nothing is left to differ: a client trains on one thread, replies are summed by
partition, and every draw is keyed by seed, round and partition. Other processors or another torch may differ."""


@pytest.mark.timeout(900)  # 198 s were seen beside a load of 10 on two cores
def test_a_deployment_ends_with_the_simulations_model(deployment: Deployment, tmp_path: Path) -> None:
    file = tmp_path / "five.toml"
    file.write_text(RUN_FILE)
    attackers = malicious(load_run_file(file))
    assert len(attackers) == 2
    deployment.start_superlink()
    for partition in range(5):
        deployment.add_node(partition, "role='attacker'" if partition in attackers else "")
    deployment.wait_for_nodes(5)
    ended = deployment.finish(deployment.start_run(file))
    assert ended.status == "finished:completed", ended.output + ended.details

    deployed, simulated = deployment.record(), simulate(file, tmp_path / "simulated")
    summary, expected = summary_of(deployed), summary_of(simulated)
    assert abs(summary["final"]["MA"] - expected["final"]["MA"]) <= TOLERANCE
    assert abs(summary["final"]["BA"] - expected["final"]["BA"]) <= TOLERANCE
    assert summary["model_sha256"] == expected["model_sha256"]
    environment = json.loads((deployed / "environment.json").read_text())
    assert environment["engine"] == "deployment"
    assert environment["malicious"] == list(attackers)
    rounds = lines_of(deployed / "rounds.jsonl")
    assert [line["dropped"] for line in rounds] == [[]] * 4
    filled, again = (lines_of(folder / "filling.jsonl") for folder in (deployed, simulated))
    assert sorted(line["client"] for line in filled) == list(range(5))
    assert all(line["skew_after"] < line["skew_before"] for line in filled)
    assert [line["kept"] for line in again] == [True] * 5  # what the nodes made has outlived their processes
    for line in rounds[1:]:
        roles = {client["client"]: client["role"] for client in line["clients"]}
        assert roles == {client: "malicious" if client in attackers else "honest" for client in range(5)}


def simulate(file: Path, runs: Path) -> Path:
    """Run the same file without Flower's daemons; return the folder of its record."""
    command = [sys.executable, "-m", "fedsec", "run", str(file), "--engine", "local", "--quiet", "--json"]
    environment = os.environ | {"FEDSEC_RUNS": str(runs), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    return Path(json.loads(done.stdout.splitlines()[-1])["folder"])


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def summary_of(record: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((record / "summary.json").read_text())
    return content
