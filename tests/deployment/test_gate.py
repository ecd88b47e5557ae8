"""Through the gate come nodes with registered keys, and nobody who would start runs or register keys of his own."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployment.credentials import SCRIPTS, make_credentials, make_key
from tests.deployment.federation import CONNECTION, Deployment, Host, Node, free_port
from tests.deployment.services import Service

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="the gate is nginx, which is not installed"),
]


def gate(deployment: Deployment, folder: Path) -> tuple[Service, int]:
    """Start a gate before the deployment's SuperLink; return it and its port."""
    port, files = free_port(), deployment.credentials
    folder.mkdir()
    command = [
        SCRIPTS / "gate.sh", "--listen", f"127.0.0.1:{port}", "--superlink", f"localhost:{deployment.port}",
        "--ca", files.authority, "--certificate", files.certificate, "--key", files.key, "--state", folder,
    ]  # fmt: skip
    made = Service(folder / "made", command, {})
    made.start()
    assert made.wait(20) == 0, made.text()
    (folder / "nginx.conf").write_text(made.text())
    service = deployment.service("gate", Host(), ["nginx", "-c", folder / "nginx.conf"])
    service.start()
    return service, port


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """A SuperLink whose certificate holds a name: nginx compares no addresses."""
    with Deployment(tmp_path / "d", make_credentials(tmp_path / "certificates", "127.0.0.1", "localhost")) as made:
        yield made


def test_a_node_comes_through_the_gate_and_an_operator_does_not(deployment: Deployment, tmp_path: Path) -> None:
    deployment.start_superlink()
    service, port = gate(deployment, tmp_path / "gate")
    try:
        key = make_key(deployment.folder / "keys", "node0")
        node = Node(0, key, free_port(), server=f"127.0.0.1:{port}")
        deployment.register(node)  # at the SuperLink itself
        deployment.start_node(node)
        deployment.wait_for_nodes(1)
        assert service.running(), service.text()

        home = deployment.folder / "cli" / "home" / "config.toml"
        inside = home.read_text()
        home.write_text(inside.replace(deployment.address, f"127.0.0.1:{port}"))
        stranger = make_key(deployment.folder / "keys", "stranger")
        for attempt in (["supernode", "register", f"{stranger}.pub"], ["list"], ["run", str(deployment.app)]):
            where = attempt[:1] if attempt[0] == "list" else attempt
            refused = deployment.flower(*where, CONNECTION, check=False)
            assert refused.returncode != 0, refused.stdout
        home.write_text(inside)
        listing = json.loads(deployment.flower("supernode", "list", CONNECTION, "--format", "json").stdout)
        assert len(listing["nodes"]) == 1
        runs = json.loads(deployment.flower("list", CONNECTION, "--format", "json").stdout)
        assert runs["runs"] == []
    finally:
        service.stop()


def test_a_superlink_that_is_named_by_its_address_is_refused(tmp_path: Path) -> None:
    files = make_credentials(tmp_path / "certificates", "127.0.0.1")
    command = [
        SCRIPTS / "gate.sh", "--listen", "127.0.0.1:1", "--superlink", "127.0.0.1:2",
        "--ca", files.authority, "--certificate", files.certificate, "--key", files.key, "--state", tmp_path,
    ]  # fmt: skip
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "expected a name that is in the SuperLink's certificate" in refused.stderr
