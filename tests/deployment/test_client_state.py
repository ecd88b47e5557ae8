"""What a client keeps outlives its SuperNode and the server: the run ends as an undisturbed simulation does.

Each node names a data set of its own, one of parquet files and one of pictures.
"""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from datasets import Value

from fedsec.data.datasets import load
from fedsec.runs.record import RunFolder
from tests.data.folders import write_parquet, write_pngs
from tests.deployment.faults import server_apps
from tests.deployment.federation import Deployment
from tests.deployment.test_loopback import simulate, summary_of

pytestmark = pytest.mark.slow

CLASSES = ",".join(map(str, range(10)))
RUN_FILE = f"""
[run]
name = "kept"
[data]
dataset = "digits"
partition = "own"
classes = "{CLASSES}"
folders = "FOLDERS"
SIZE
[federation]
clients = 2
rounds = 2
local-epochs = 1
batch-size = 64
learning-rate = 0.01
node-timeout = 120.0
MOMENTUM
[attack]
kind = "none"
[defense]
strategy = "fedavg"
"""
GAN = """
[model]
name = "dcgan"
[fedgan]
width = 4
critic-width = 4
images = 20
"""
KEEPING = {
    "momentum": RUN_FILE.replace("SIZE", "").replace("MOMENTUM", "momentum = 0.9\nmomentum-buffer = 'kept'"),
    "discriminators": RUN_FILE.replace("SIZE", "size = 16").replace("MOMENTUM", "") + GAN,
}
"""Files of runs in which clients keep something from round to round, by what it is."""


def write_data(folder: Path) -> Path:
    """Write what two clients hold into the folders ``0`` and ``1`` of a folder; return it."""
    train = load("digits", "train")
    images, labels = np.asarray(train.images[:300, 0]), np.asarray(train.labels[:300])
    write_parquet(folder / "0", "train", list(images[:150]), labels[:150].tolist(), label=Value("int64"))
    write_pngs(folder / "1", "train", list(images[150:]), [str(label) for label in labels[150:]])
    return folder


@pytest.mark.timeout(900)  # 273 s were seen beside a load of 20 on two cores
@pytest.mark.parametrize("kept", KEEPING)
def test_what_clients_keep_outlives_a_restart_of_server_and_node(
    kept: str, deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, data, simulations = tmp_path / "kept.toml", write_data(tmp_path / "nodes"), tmp_path / "simulations"
    text = KEEPING[kept].replace("FOLDERS", f"{simulations}/{{partition}}")
    file.write_text(text)
    deployment.start_superlink()
    for partition in range(2):
        deployment.add_node(partition, f"data='{data / str(partition)}'")
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
    file.write_text(text.replace('name = "kept"', 'name = "kept"\nresume = true'))
    ended = deployment.finish(deployment.start_run(file))
    assert ended.status == "finished:completed", ended.output + ended.details
    record = RunFolder(deployment.record())
    assert len(record.environment()["starts"]) == 2

    data.rename(simulations)  # until now only the nodes' own words led there
    file.write_text(text)
    monkeypatch.setenv("FEDSEC_STATE", str(tmp_path / "state"))
    simulated = simulate(file, tmp_path / "simulated")
    assert summary_of(record.path)["model_sha256"] == summary_of(simulated)["model_sha256"]
    assert [line["round"] for line in record.rounds()] == [0, 1, 2]
    assert [line["notes"] for line in record.rounds()] == [[]] * 3
    states = deployment.folder / "node1" / "state" / record.name / "1"
    assert [path.name for path in sorted(states.iterdir())] == [f"00000{number}.safetensors" for number in (1, 2)]
