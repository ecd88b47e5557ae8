"""The scripts do what their --help says: certificates and keys that others read, and nothing overwritten."""

import ipaddress
import os
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

DEPLOY = Path(__file__).parents[2] / "deploy"
SCRIPTS = sorted(DEPLOY.glob("*.sh"))
HOSTS = ["fedsec.example.org", "localhost", "192.0.2.10", "2001:db8::7"]


def script(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    command = [DEPLOY / name, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)


def done(name: str, *arguments: object) -> str:
    result = script(name, *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def refused(name: str, *arguments: object) -> str:
    result = script(name, *arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith(f"{name}: ")
    return line


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda file: file.name)
def test_shellcheck_finds_nothing(file: Path) -> None:
    program = Path(sys.executable).with_name("shellcheck")
    found = subprocess.run([program, "--norc", file], capture_output=True, text=True)
    assert found.stdout + found.stderr == ""


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda file: file.name)
def test_help_names_every_option_and_an_unknown_one_is_refused(file: Path) -> None:
    text = done(file.name, "--help")
    for line in file.read_text().splitlines():
        if line.strip().startswith("--") and ")" in line:
            for option in line.strip().partition(")")[0].split(" | "):
                assert option in text or option == "-h"
    assert "--nonsense" in refused(file.name, "--nonsense")


def test_the_certificate_is_the_authoritys_and_names_all_hosts(tmp_path: Path) -> None:
    done("certificates.sh", "--out", tmp_path, *HOSTS)
    verify = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", tmp_path / "ca.crt"]
    for check in (["-verify_hostname", "localhost"], ["-verify_ip", "192.0.2.10"], ["-verify_ip", "2001:db8::7"]):
        said = subprocess.run([*verify, *check, tmp_path / "server.crt"], capture_output=True, text=True)
        assert said.returncode == 0, said.stderr
    said = subprocess.run(
        [*verify, "-verify_hostname", "other.example.org", tmp_path / "server.crt"], capture_output=True
    )
    assert said.returncode != 0
    certificate = x509.load_pem_x509_certificate((tmp_path / "server.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == HOSTS[:2]
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address(host) for host in HOSTS[2:]]
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 397
    authority = x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes())
    assert (authority.not_valid_after_utc - authority.not_valid_before_utc).days == 3650
    ssl.create_default_context().load_verify_locations(tmp_path / "ca.crt")
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")


def test_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    done("certificates.sh", "--out", tmp_path, "localhost")
    done("node_key.sh", "--out", tmp_path, "node-0")
    done("superexec_secret.sh", "--out", tmp_path / "secret")
    for name in ("ca.key", "server.key", "node-0.key", "secret"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert len((tmp_path / "secret").read_bytes()) == 32
    assert not list(tmp_path.glob(".making*"))


def test_a_renewed_certificate_keeps_its_key_and_hosts(tmp_path: Path) -> None:
    done("certificates.sh", "--out", tmp_path, "--days", "1", *HOSTS)
    before = {name: (tmp_path / name).read_bytes() for name in ("ca.crt", "ca.key", "server.key", "server.crt")}
    done("certificates.sh", "--out", tmp_path, "--renew")
    after = {name: (tmp_path / name).read_bytes() for name in before}
    assert [name for name in before if before[name] != after[name]] == ["server.crt"]
    old, new = (x509.load_pem_x509_certificate(files["server.crt"]) for files in (before, after))
    assert new.public_key() == old.public_key()
    assert new.not_valid_after_utc > old.not_valid_after_utc
    alternatives = x509.SubjectAlternativeName
    assert new.extensions.get_extension_for_class(alternatives) == old.extensions.get_extension_for_class(alternatives)
    [kept] = tmp_path.glob("server.crt.*")
    assert kept.read_bytes() == before["server.crt"]


def test_one_authority_signs_for_several_servers(tmp_path: Path) -> None:
    done("certificates.sh", "--out", tmp_path, "localhost")
    authority = (tmp_path / "ca.crt").read_bytes()
    done("certificates.sh", "--out", tmp_path, "--name", "second", "second.example.org")
    assert (tmp_path / "ca.crt").read_bytes() == authority
    check = ["openssl", "verify", "-CAfile", tmp_path / "ca.crt", tmp_path / "server.crt", tmp_path / "second.crt"]
    assert subprocess.run(check, capture_output=True).returncode == 0


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    done("certificates.sh", "--out", tmp_path, "localhost")
    done("node_key.sh", "--out", tmp_path, "node-0")
    done("superexec_secret.sh", "--out", tmp_path / "secret")
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    assert "server.key is there already" in refused("certificates.sh", "--out", tmp_path, "localhost")
    assert "node-0.key is there already" in refused("node_key.sh", "--out", tmp_path, "node-1", "node-0")
    assert "secret is there already" in refused("superexec_secret.sh", "--out", tmp_path / "secret")
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["localhost"], "--out is missing"),
        (["--out", "{}"], "no HOST is given"),
        (["--out", "{}", "--days"], "--days needs a value"),
        (["--out", "{}", "--days", "0", "localhost"], "--days: found '0'; expected a number of days"),
        (["--out", "{}", "--days", "4000", "localhost"], "ca.crt ends before a certificate of 4000 days would"),
        (["--out", "{}", "192.0.2.300"], "host '192.0.2.300' is no IPv4 address"),
        (["--out", "{}", "localhost:8000"], "without a port"),
        (["--out", "{}", "a,DNS:b"], "expected a DNS name or an IP address"),
        (["--out", "{}", "--name", "ca", "localhost"], "--name: found 'ca'"),
        (["--out", "{}", "--renew"], "ca.key is missing"),
    ],
)
def test_bad_input_is_one_clear_line_and_leaves_nothing(tmp_path: Path, arguments: list[str], reason: str) -> None:
    folder = tmp_path / "made"
    assert reason in refused("certificates.sh", *(word.format(folder) for word in arguments))
    assert not folder.exists() or not list(folder.iterdir())


def test_an_authority_without_its_key_is_not_replaced(tmp_path: Path) -> None:
    done("certificates.sh", "--out", tmp_path, "localhost")
    (tmp_path / "ca.key").unlink()
    assert "its ca.key is not" in refused("certificates.sh", "--out", tmp_path, "--name", "second", "localhost")


def test_node_keys_are_on_p384_and_belong_together(tmp_path: Path) -> None:
    done("node_key.sh", "--out", tmp_path, "node-0", "node-1")
    public = []
    for name in ("node-0", "node-1"):
        private = load_ssh_private_key((tmp_path / f"{name}.key").read_bytes(), None)
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        assert isinstance(private.curve, ec.SECP384R1)
        public.append(load_ssh_public_key((tmp_path / f"{name}.key.pub").read_bytes()))
        assert public[-1] == private.public_key()
    assert public[0] != public[1]


def test_a_private_key_is_not_registered(tmp_path: Path) -> None:
    done("node_key.sh", "--out", tmp_path, "node-0")
    assert "is it the private one?" in refused("register_node.sh", tmp_path / "node-0.key")
    assert "no such file" in refused("register_node.sh", tmp_path / "node-1.key.pub")
    listed = refused("remove_node.sh", "--list", tmp_path / "nodes.tsv", "node-0")
    assert "no node 'node-0' in" in listed
