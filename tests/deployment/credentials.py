"""Certificates and node keys for tests: good ones from the scripts in deploy/, and those that must be refused."""

import datetime
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

SCRIPTS = Path(__file__).parents[2] / "deploy"


@dataclass(frozen=True)
class Credentials:
    """Files of an authority, and of a server's certificate that it signed."""

    authority: Path
    certificate: Path
    key: Path


def make_credentials(folder: Path, *hosts: str) -> Credentials:
    """Make an authority and a server's certificate for ``hosts``."""
    _run(SCRIPTS / "certificates.sh", "--out", folder, *hosts)
    return Credentials(folder / "ca.crt", folder / "server.crt", folder / "server.key")


def expired(good: Credentials) -> Credentials:
    """Sign the server's certificate anew, as it would be a day after its end."""
    authority_key = serialization.load_pem_private_key(good.authority.with_suffix(".key").read_bytes(), None)
    authority = x509.load_pem_x509_certificate(good.authority.read_bytes())
    certificate = x509.load_pem_x509_certificate(good.certificate.read_bytes())
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(certificate.subject)
        .issuer_name(authority.subject)
        .public_key(certificate.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(yesterday - datetime.timedelta(days=30))
        .not_valid_after(yesterday)
    )
    for extension in certificate.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    signed = builder.sign(authority_key, hashes.SHA384())  # type: ignore[arg-type]
    file = good.certificate.with_name("expired.crt")
    file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return replace(good, certificate=file)


def make_key(folder: Path, name: str) -> Path:
    """Make a node's key pair; the public key lies beside it, with ``.pub`` added to its name."""
    _run(SCRIPTS / "node_key.sh", "--out", folder, name)
    return folder / f"{name}.key"


def make_key_on_another_curve(file: Path) -> Path:
    """Make a key pair on P-256, which Flower does not take."""
    _run("ssh-keygen", "-q", "-t", "ecdsa", "-b", "256", "-N", "", "-f", file)
    return file


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr}")
