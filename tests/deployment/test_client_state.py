"""What a client keeps outlives its SuperNode: the run ends with the model of a simulation that nothing happened to."""

import time
from pathlib import Path

import pytest

from fedsec.runs.record import RunFolder
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
def test_momentum_outlives_a_restart_of_the_supernode(
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
    while not (states := list((deployment.folder / "node1" / "state").rglob("000001.safetensors"))):
        assert time.monotonic() < deadline, run.text()
        time.sleep(0.1)
    deployment.nodes[1].stop()
    deployment.revive_node(1)
    ended = deployment.finish(run)
    assert ended.status == "finished:completed", ended.output + ended.details

    monkeypatch.setenv("FEDSEC_STATE", str(tmp_path / "state"))
    simulated = simulate(file, tmp_path / "simulated")
    record = RunFolder(deployment.record())
    assert summary_of(record.path)["model_sha256"] == summary_of(simulated)["model_sha256"]
    assert [line["round"] for line in record.rounds()] == [0, 1, 2, 3]
    assert [line["notes"] for line in record.rounds()] == [[]] * 4
    kept = sorted(path.name for path in states[0].parent.iterdir())
    assert kept == ["000001.safetensors", "000002.safetensors", "000003.safetensors"]
    assert states[0].parent == deployment.folder / "node1" / "state" / record.name / "1"
