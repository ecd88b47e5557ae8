"""What a client keeps outlives its SuperNode and the server: the run ends as an undisturbed simulation does."""

import os
import signal
import time
from pathlib import Path

import pytest

from fedsec.runs.record import RunFolder
from tests.deployment.faults import server_apps
from tests.deployment.federation import Deployment
from tests.deployment.test_loopback import simulate, summary_of

pytestmark = pytest.mark.slow

RUN_FILE = """
[run]
name = "momentum"
[data]
dataset = "digits"
partition = "iid"
[federation]
clients = 2
rounds = 3
local-epochs = 1
batch-size = 64
learning-rate = 0.01
momentum = 0.9
momentum-buffer = "kept"
node-timeout = 120.0
[attack]
kind = "none"
[defense]
strategy = "fedavg"
"""


@pytest.mark.timeout(900)  # it takes less than a minute; more where others use the cores
def test_momentum_outlives_a_restart_of_server_and_node(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "momentum.toml"
    file.write_text(RUN_FILE)
    deployment.start_superlink()
    for partition in range(2):
        deployment.add_node(partition)
    deployment.wait_for_nodes(2)
    run = deployment.start_run(file)
    deadline = time.monotonic() + 300
    while not any(len(RunFolder(path.parent).rounds()) > 1 for path in deployment.runs.rglob("rounds.jsonl")):
        assert time.monotonic() < deadline, run.text()
        time.sleep(0.1)
    for process in server_apps(deployment):
        os.kill(process, signal.SIGKILL)
    run.kill()
    deployment.nodes[1].stop()
    deployment.revive_node(1)
    file.write_text(RUN_FILE.replace('name = "momentum"', 'name = "momentum"\nresume = true'))
    ended = deployment.finish(deployment.start_run(file))
    assert ended.status == "finished:completed", ended.output + ended.details
    record = RunFolder(deployment.record())
    assert len(record.environment()["starts"]) == 2

    file.write_text(RUN_FILE)
    monkeypatch.setenv("FEDSEC_STATE", str(tmp_path / "state"))
    simulated = simulate(file, tmp_path / "simulated")
    assert summary_of(record.path)["model_sha256"] == summary_of(simulated)["model_sha256"]
    assert [line["round"] for line in record.rounds()] == [0, 1, 2, 3]
    assert [line["notes"] for line in record.rounds()] == [[]] * 4
    states = deployment.folder / "node1" / "state" / record.name / "1"
    assert [path.name for path in sorted(states.iterdir())] == [f"00000{number}.safetensors" for number in (1, 2, 3)]
