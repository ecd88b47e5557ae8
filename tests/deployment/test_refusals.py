"""Who must stay outside does: the SuperNode ends, ``fedsec node check`` says why, and the others go on."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command_line import fedsec
from tests.deployment.credentials import Credentials, expired, make_credentials, make_key, make_key_on_another_curve
from tests.deployment.federation import ACTIVATED, BIN, Deployment, Host, Node, free_port

pytestmark = pytest.mark.slow

UNKNOWN_KEY = "registration: the SuperLink does not know this key; the operator of the server registers it"


@pytest.fixture(scope="module")
def server(credentials: Credentials, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A SuperLink with one good node, for all that come and are refused."""
    with Deployment(tmp_path_factory.mktemp("server") / "deployment", credentials) as deployment:
        deployment.start_superlink()
        deployment.add_node(0)
        deployment.wait_for_nodes(1)
        yield deployment
        assert deployment.nodes[0].running()
        assert deployment.online() == 1


def refused(deployment: Deployment, node: Node) -> str:
    """Start a node that must not get in; return what it says."""
    service = deployment.start_node(node)
    assert service.wait(120) != 0
    text = service.text()
    service.kill()
    assert ACTIVATED not in text
    return text


def failures(deployment: Deployment, node: Node) -> list[str]:
    """Return the lines of ``fedsec node check`` that say what is wrong with a node."""
    authority = node.root or deployment.credentials.authority
    server = ("--superlink", node.server or deployment.address, "--root-certificates", authority)
    key = ("--key", node.key) if node.key else ()
    checked = fedsec("node", "check", *server, *key, "--node-config", f"partition-id={node.partition}")
    lines = [line.removeprefix("FAILED").strip() for line in checked.out.splitlines() if line.startswith("FAILED")]
    assert checked.code == (1 if lines else 0), checked.err
    return lines


def test_a_good_node_passes_the_check_while_it_runs(server: Deployment) -> None:
    assert failures(server, server.plans[0]) == []


def test_a_node_whose_key_is_not_registered_is_refused(server: Deployment, tmp_path: Path) -> None:
    node = Node(1, make_key(tmp_path, "stranger"), free_port())
    assert "Failed to activate SuperNode" in refused(server, node)
    [why] = failures(server, node)
    assert why.startswith(UNKNOWN_KEY)


def test_a_node_with_another_key_than_the_registered_one_is_refused(server: Deployment, tmp_path: Path) -> None:
    server.register(Node(2, make_key(tmp_path, "registered"), 0))
    node = Node(2, make_key(tmp_path, "other"), free_port())
    assert "Failed to activate SuperNode" in refused(server, node)
    [why] = failures(server, node)
    assert why.startswith(UNKNOWN_KEY)


def test_a_node_without_a_key_is_refused(server: Deployment) -> None:
    text = refused(server, Node(3, None, free_port()))
    assert "SuperNode authentication is enabled. All SuperNodes must be registered" in text


def test_a_copy_of_a_key_that_is_in_use_is_refused(server: Deployment) -> None:
    text = refused(server, Node(4, server.plans[0].key, free_port()))
    assert "Failed to activate SuperNode" in text


def test_a_server_name_that_the_certificate_does_not_hold_is_refused(server: Deployment, tmp_path: Path) -> None:
    node = Node(5, make_key(tmp_path, "node"), free_port(), server=f"localhost:{server.port}")
    assert "Hostname mismatch, certificate is not valid for 'localhost'" in refused(server, node)
    assert "its certificate is for 127.0.0.1, not for localhost" in failures(server, node)[0]


def test_a_server_of_another_authority_is_refused(server: Deployment, tmp_path: Path) -> None:
    other = make_credentials(tmp_path / "other", "127.0.0.1")
    node = Node(6, make_key(tmp_path, "node"), free_port(), root=other.authority)
    assert "certificate verify failed" in refused(server, node)
    why = failures(server, node)[0]
    assert "its certificate is not from this authority" in why
    assert "is this the server's ca.crt?" in why


def test_an_expired_certificate_is_refused(credentials: Credentials, tmp_path: Path) -> None:
    with Deployment(tmp_path / "expired", expired(credentials)) as deployment:
        deployment.superlink.start()
        deployment.superlink.wait_for_text("running on https", 120)
        node = Node(0, make_key(tmp_path, "node"), free_port())
        assert "certificate verify failed: certificate has expired" in refused(deployment, node)
        why = failures(deployment, node)[0]
    assert "its certificate expired on " in why
    assert "makes a new one with deploy/certificates.sh" in why


def test_a_key_that_is_not_of_an_elliptic_curve_is_refused(server: Deployment, tmp_path: Path) -> None:
    key = tmp_path / "rsa"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", key], check=True)
    node = Node(7, key, free_port())
    assert "requires elliptic curve private key" in refused(server, node)
    assert "found a key of another kind (RSAPrivateKey); expected ECDSA P-384" in failures(server, node)[0]


def test_the_check_refuses_a_curve_that_flower_takes(server: Deployment, tmp_path: Path) -> None:
    """Flower 1.41 documents P-384 and registers other curves as well."""
    node = Node(8, make_key_on_another_curve(tmp_path / "short"), 0)
    assert "found a key of another kind (secp256r1); expected ECDSA P-384" in failures(server, node)[0]


def test_a_node_without_tls_does_not_get_in(server: Deployment) -> None:
    """It says nothing and tries for ever: the server's end of this connection speaks TLS only."""
    command = [BIN / "flower-supernode", "--insecure", "--superlink", server.address, "--port", str(free_port())]
    service = server.service("insecure", Host(), command)
    service.start()
    service.wait_for_text("Starting insecure channel", 60)
    with pytest.raises(subprocess.TimeoutExpired):
        service.wait(5)
    service.kill()
    assert ACTIVATED not in service.text()
