"""Two nodes of a real deployment send what nobody should read; the run goes on as if they had not answered."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.credentials import make_credentials
from tests.deployment.federation import PROJECT, Deployment
from tests.e2e.hostile_app import write_app

pytestmark = pytest.mark.slow

ROUNDS = 4
HOSTILE = {2: ("paths", "tiny", "forged", "huge"), 3: ("pickle", "many-times", "no-json", "paths")}
"""What the nodes of these partitions do, round by round."""

REASONS = {
    "huge": "one of its objects would take",
    "tiny": "it consists of more than",
    "paths": "arrays do not match the model: missing",
    "pickle": "array 'conv1.weight' takes",
    "many-times": "its arrays add up to",
    "no-json": "its objects make no message (JSONDecodeError",
    "forged": "it calls itself node 4711's",
}

RUN_FILE = f"""
[run]
name = "hostile"
[data]
dataset = "digits"
[federation]
clients = 4
rounds = {ROUNDS}
round-timeout = 120.0
[attack]
kind = "none"
[defense]
strategy = "median"
"""

HIGHEST_MIB = 30.0
"""What the rounds after the first may add to the server's memory: the reply of 64 MiB would add at least itself."""


@pytest.mark.timeout(900)  # it takes a minute; more where others use the cores
def test_hostile_nodes_are_dropped_with_a_reason_and_nothing_else_changes(tmp_path: Path) -> None:
    created, file = tmp_path / "created", tmp_path / "hostile.toml"
    file.write_text(RUN_FILE)
    app = write_app(tmp_path / "hostileapp", created)
    before = set(tmp_path.iterdir())
    credentials = make_credentials(tmp_path / "certificates", "127.0.0.1")
    folder = tmp_path / "deployment"
    with Deployment(folder, credentials, environment={"PYTHONPATH": str(PROJECT)}, app=app) as deployment:
        deployment.start_superlink()
        for partition in range(4):
            deeds = HOSTILE.get(partition)
            deployment.add_node(partition, f"hostile='{' '.join(deeds)}'" if deeds else "")
        deployment.wait_for_nodes(4)
        ended = deployment.finish(deployment.start_run(file))
        assert ended.status == "finished:completed", ended.output + ended.details
        record = deployment.record()
    rounds: list[dict[str, Any]] = [json.loads(line) for line in (record / "rounds.jsonl").read_text().splitlines()]
    for line in rounds[1:]:
        assert [client["client"] for client in line["clients"]] == [0, 1]
        dropped = {client["node_id"]: client["reason"] for client in line["dropped"]}
        assert set(dropped) == set(HOSTILE)
        for partition, deeds in HOSTILE.items():
            assert REASONS[deeds[line["round"] - 1]] in dropped[partition]
    assert rounds[-1]["MA"] > rounds[0]["MA"]
    assert rounds[-1]["peak_memory_mib"] - rounds[1]["peak_memory_mib"] < HIGHEST_MIB
    assert not created.exists()
    assert set(tmp_path.iterdir()) == before | {tmp_path / "certificates", folder}
