"""``kill -9`` while clients train what they keep between rounds, then ``--resume``: the same model, no state torn.

Of a federated GAN's clients these are discriminator and optimisers; of the adversary that rebuilds a class, its
generator.
"""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from fedsec.runs.record import RunFolder
from tests.e2e.test_resume import finish, rounds_done, start

pytestmark = pytest.mark.slow

ROUNDS, KILLS = 7, 3

FEDERATED_GAN = f"""
[run]
name = "killed"
[data]
dataset = "digits"
size = 16
partition = "iid"
[model]
name = "dcgan"
[fedgan]
width = 16
critic-width = 16
images = 20
score-every = {ROUNDS}
[federation]
clients = 3
rounds = {ROUNDS}
local-epochs = 2
batch-size = 16
learning-rate = 0.0002
[attack]
kind = "stamp"
clients = "1"
trigger-size = 3
claim = "honest-looking"
[defense]
strategy = "loss-forest"
warmup-rounds = 1
audit = "critic"
"""

RECONSTRUCTION = f"""
[run]
name = "killed"
[data]
dataset = "digits"
partition = "one-class"
held = "1 4"
[model]
name = "reconstruction"
[federation]
clients = 3
rounds = {ROUNDS}
local-epochs = 1
batch-size = 16
draw = 20
learning-rate = 0.1
[attack]
kind = "reconstruction"
clients = "2"
victim = 1
start-accuracy = 0.1
updates = 60
fakes = 200
total-variation = 1.0
jitter = 1
[defense]
strategy = "fedavg"
"""


@pytest.mark.parametrize("text", [FEDERATED_GAN, RECONSTRUCTION], ids=["federated-gan", "reconstruction"])
def test_a_kill_in_the_middle_of_an_epoch_changes_nothing(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, runs, moments = tmp_path / "run.toml", tmp_path / "parts", random.Random(3)
    file.write_text(text)
    monkeypatch.setenv("FEDSEC_STATE", str(tmp_path / "state-of-the-whole"))
    whole = finish(start(file, "local", tmp_path / "whole"))
    monkeypatch.setenv("FEDSEC_STATE", str(tmp_path / "state"))
    process = start(file, "local", runs)
    for _ in range(KILLS):
        before = rounds_done(runs)
        while process.poll() is None and rounds_done(runs) <= max(before, 1):
            time.sleep(0.02)
        time.sleep(moments.random() * whole["seconds_per_round"])  # somewhere in the next round's training
        assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        process = start(file, "local", runs, "--resume")
    resumed = finish(process)
    assert resumed["model_sha256"] == whole["model_sha256"]
    [folder] = [RunFolder(path.parent) for path in runs.rglob("config.toml")]
    assert [line["round"] for line in folder.rounds()] == list(range(ROUNDS + 1))
    assert [line["notes"] for line in folder.rounds()] == [[]] * (ROUNDS + 1)
    assert not list(tmp_path.rglob("*.partial"))
