"""What keeps a node from speaking with its server is said in a sentence that a person can act on."""

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fedsec.node_check.network import check_authority, check_certificate, check_key, check_reach, parse_address
from tests.deployment.credentials import Credentials, expired, make_credentials, make_key, make_key_on_another_curve


@contextmanager
def listening(credentials: Credentials | None) -> Iterator[int]:
    """Answer on a port of this machine, with TLS where there are credentials; give the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if credentials:
            context.load_cert_chain(credentials.certificate, credentials.key)

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                    with connection:
                        if credentials:
                            context.wrap_socket(connection, server_side=True).close()
                        else:
                            connection.sendall(b"hello\n" * 10)
                except ssl.SSLError:
                    continue
                except OSError:
                    return

        threading.Thread(target=answer, daemon=True).start()
        yield server.getsockname()[1]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return make_credentials(tmp_path_factory.mktemp("good"), "127.0.0.1", "localhost")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("server.example.org:8000", ("server.example.org", 8000)),
        ("[::1]:8000", ("::1", 8000)),
        ("server", None),
        (":8000", None),
        ("server:0", None),
        ("server:http", None),
        ("server:70000", None),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, address: tuple[str, int] | None) -> None:
    assert parse_address(text) == address


def test_a_good_certificate_is_good(good: Credentials) -> None:
    with listening(good) as port:
        for host in ("127.0.0.1", "localhost"):
            found = check_certificate((host, port), good.authority)
            assert found.ok
            assert "valid until 20" in found.text


def test_an_expired_certificate_is_told_with_its_day(good: Credentials) -> None:
    with listening(expired(good)) as port:
        found = check_certificate(("127.0.0.1", port), good.authority)
    assert not found.ok
    assert "its certificate expired on 20" in found.text
    assert "deploy/certificates.sh" in found.text


def test_a_wrong_host_name_is_told_with_the_right_ones(tmp_path: Path) -> None:
    other = make_credentials(tmp_path, "fl.example.org", "10.1.2.3")
    with listening(other) as port:
        by_name = check_certificate(("localhost", port), other.authority)
        by_address = check_certificate(("127.0.0.1", port), other.authority)
    assert "its certificate is for fl.example.org, 10.1.2.3, not for localhost" in by_name.text
    assert "not for 127.0.0.1" in by_address.text
    assert not by_name.ok
    assert not by_address.ok


def test_another_authority_is_told(good: Credentials, tmp_path: Path) -> None:
    other = make_credentials(tmp_path, "127.0.0.1")
    with listening(good) as port:
        found = check_certificate(("127.0.0.1", port), other.authority)
    assert not found.ok
    assert "is this the server's ca.crt?" in found.text


def test_a_server_without_tls_is_told(good: Credentials) -> None:
    with listening(None) as port:
        found = check_certificate(("127.0.0.1", port), good.authority)
    assert not found.ok
    assert "was the SuperLink started with --insecure?" in found.text


def test_a_port_that_nobody_listens_on_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    found = check_reach(("127.0.0.1", port))
    assert (found.ok, "nobody listens there" in found.text) == (False, True)
    assert "nobody knows the name" in check_reach(("no-such-host.invalid", 1)).text


def test_the_authority_must_be_a_certificate(good: Credentials, tmp_path: Path) -> None:
    assert check_authority(good.authority).ok
    assert "No such file" in check_authority(tmp_path / "none.crt").text
    (tmp_path / "text.crt").write_text("not a certificate")
    assert "not a certificate in PEM" in check_authority(tmp_path / "text.crt").text


def test_a_key_must_be_a_private_one_of_the_right_curve_and_the_nodes_alone(tmp_path: Path) -> None:
    good = make_key(tmp_path, "node")
    found, key = check_key(good)
    assert found.ok
    assert key is not None
    good.chmod(0o644)
    assert f"chmod 600 {good}" in check_key(good)[0].text
    other = make_key_on_another_curve(tmp_path / "p256")
    assert "secp256r1); expected ECDSA P-384" in check_key(other)[0].text
    assert "not a private key of OpenSSH's format" in check_key(tmp_path / "node.key.pub")[0].text
    assert "there is no such file" in check_key(tmp_path / "none")[0].text
    command = ["ssh-keygen", "-q", "-t", "ecdsa", "-b", "384", "-N", "secret", "-f", str(tmp_path / "locked")]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    assert "it needs a passphrase" in check_key(tmp_path / "locked")[0].text
