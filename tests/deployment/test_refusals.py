"""Who must stay outside does: it ends at once, says why, and the others go on.

The sentences are Flower's own. Where they do not tell what to do, ``fedsec node check`` does.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployment.credentials import Credentials, expired, make_credentials, make_key
from tests.deployment.federation import Deployment, Host, Node, free_port
from tests.deployment.services import Service

pytestmark = pytest.mark.slow


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
    """Start a node that must not get in; return what it says in the end."""
    service = deployment.start_node(node)
    assert service.wait(60) != 0
    text = service.text()
    service.kill()
    return text


def test_a_node_whose_key_is_not_registered_is_refused(server: Deployment, tmp_path: Path) -> None:
    text = refused(server, Node(1, make_key(tmp_path, "stranger"), free_port()))
    assert "Failed to activate SuperNode" in text


def test_a_node_with_another_key_than_the_registered_one_is_refused(server: Deployment, tmp_path: Path) -> None:
    registered = Node(2, make_key(tmp_path, "registered"), free_port())
    server.register(registered)
    text = refused(server, Node(2, make_key(tmp_path, "other"), registered.port))
    assert "Failed to activate SuperNode" in text


def test_a_node_without_a_key_is_refused(server: Deployment) -> None:
    text = refused(server, Node(3, None, free_port()))
    assert "SuperNode authentication is enabled. All SuperNodes must be registered" in text


def test_a_copy_of_a_key_that_is_in_use_is_refused(server: Deployment) -> None:
    text = refused(server, Node(4, server.plans[0].key, free_port()))
    assert "Failed to activate SuperNode" in text


def test_a_server_name_that_the_certificate_does_not_hold_is_refused(server: Deployment, tmp_path: Path) -> None:
    node = Node(5, make_key(tmp_path, "node"), free_port(), server=f"localhost:{server.port}")
    assert "Hostname mismatch, certificate is not valid for 'localhost'" in refused(server, node)


def test_a_server_of_another_authority_is_refused(server: Deployment, tmp_path: Path) -> None:
    other = make_credentials(tmp_path / "other", "127.0.0.1")
    node = Node(6, make_key(tmp_path, "node"), free_port(), root=other.authority)
    text = refused(server, node)
    assert "certificate verify failed" in text
    assert "issuer" in text


def test_an_expired_certificate_is_refused(credentials: Credentials, tmp_path: Path) -> None:
    with Deployment(tmp_path / "expired", expired(credentials)) as deployment:
        deployment.superlink.start()
        deployment.superlink.wait_for_text("running on https", 60)
        text = refused(deployment, Node(0, make_key(tmp_path, "node"), free_port()))
    assert "certificate verify failed: certificate has expired" in text


def test_keys_that_are_not_of_elliptic_curves_are_refused(server: Deployment, tmp_path: Path) -> None:
    key = tmp_path / "rsa"
    generate = Service(tmp_path / "keygen", ["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", key], {})
    generate.start()
    assert generate.wait(60) == 0
    assert "requires elliptic curve private key" in refused(server, Node(7, key, free_port()))
    registered = server.flower("supernode", "register", f"{key}.pub", "remote", check=False)
    assert registered.returncode != 0
    assert "Not an EC public key" in registered.stdout + registered.stderr


def test_a_node_without_tls_does_not_get_in(server: Deployment) -> None:
    """It says nothing and tries for ever: the server's end of this connection speaks TLS only."""
    command = ["flower-supernode", "--insecure", "--superlink", server.address, "--port", str(free_port())]
    service = server.service("insecure", Host(), command)
    service.start()
    service.wait_for_text("Starting insecure channel", 30)
    with pytest.raises(Exception, match="timed out"):
        service.wait(5)
    service.kill()
    assert server.online() == 1
