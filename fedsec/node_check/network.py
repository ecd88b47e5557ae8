"""Whether a node can speak with its SuperLink: address, certificate, key, registration, clock."""

import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from fedsec.node_check.finding import Finding

PATIENCE = 10.0
"""Seconds to wait for an answer."""

SOON_DAYS = 14
AHEAD_SECONDS, BEHIND_SECONDS = 5.0, 300.0
"""Flower refuses the signatures of a node whose clock is further from the SuperLink's than this."""

EXPIRED, NOT_YET, WRONG_NAME, WRONG_ADDRESS = 10, 9, 62, 64
"""OpenSSL's codes of what is wrong with a certificate."""

Address = tuple[str, int]


def parse_address(text: str) -> Address | None:
    """Return host and port of ``host:port`` or ``[v6]:port``, or ``None``."""
    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not host or not port.isdigit() or not 0 < int(port) < 2**16:
        return None
    return host, int(port)


def check_key(path: Path) -> tuple[Finding, ec.EllipticCurvePrivateKey | None]:
    """Check the node's private key; return it where it can be used."""

    def refused(text: str) -> tuple[Finding, None]:
        return Finding("key", False, f"{path}: {text}"), None

    again = "make one with deploy/node_key.sh"
    try:
        key = load_ssh_private_key(path.read_bytes(), None)
        mode = path.stat().st_mode & 0o077
    except FileNotFoundError:
        return refused(f"there is no such file; {again}")
    except OSError as error:
        return refused(f"cannot be read ({error.strerror}); the user of the SuperNode must be able to")
    except (ValueError, TypeError) as error:
        wrong = "it needs a passphrase" if isinstance(error, TypeError) else "not a private key of OpenSSH's format"
        return refused(f"{wrong}; {again}")
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP384R1):
        kind = key.curve.name if isinstance(key, ec.EllipticCurvePrivateKey) else type(key).__name__
        return refused(f"found a key of another kind ({kind}); expected ECDSA P-384: {again}")
    if mode:
        return refused(f"others on this machine may read it; give: chmod 600 {path}")
    return Finding("key", True, f"{path}: ECDSA P-384"), key


def check_authority(path: Path) -> Finding:
    """Check the certificate of the authority that the node trusts."""
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        return Finding("authority", False, f"{path}: {error.strerror}; copy ca.crt from the server's operator")
    except ValueError:
        return Finding("authority", False, f"{path}: not a certificate in PEM; copy ca.crt from the server's operator")
    last = min(certificate.not_valid_after_utc for certificate in found)
    if last < datetime.now(UTC):
        return Finding("authority", False, f"{path}: expired on {last:%Y-%m-%d}; a new authority is needed everywhere")
    return Finding("authority", True, f"{path}: valid until {last:%Y-%m-%d}")


def check_reach(address: Address) -> Finding:
    """Check that somebody listens at the address."""
    host, port = address
    try:
        with socket.create_connection(address, PATIENCE):
            return Finding("server", True, f"{host}:{port} answers")
    except socket.gaierror:
        why = f"nobody knows the name {host}; is it spelt right?"
    except TimeoutError:
        why = f"no answer in {PATIENCE:g} s; a firewall between here and there, or a wrong address?"
    except ConnectionRefusedError:
        why = "nobody listens there; is the SuperLink running, and on this port?"
    except OSError as error:
        why = f"{error.strerror or error}"
    return Finding("server", False, f"{host}:{port}: {why}")


def check_certificate(address: Address, authority: Path) -> Finding:
    """Check that the server proves to be who it is called, by a certificate of the authority."""
    host, port = address
    try:
        context = ssl.create_default_context(cafile=str(authority))
        with _connected(address, context) as connection:
            shown = connection.getpeercert(binary_form=True)
    except ssl.SSLCertVerificationError as error:
        return Finding("certificate", False, f"{host}:{port}: {_refusal(address, error)}")
    except ssl.SSLError as error:
        why = f"no TLS there ({error.reason or error}); was the SuperLink started with --insecure?"
        return Finding("certificate", False, f"{host}:{port}: {why}")
    except OSError as error:
        return Finding("certificate", False, f"{host}:{port}: {error}")
    last = x509.load_der_x509_certificate(shown or b"").not_valid_after_utc
    left = (last - datetime.now(UTC)).days
    renew = f"; only {left} days, ask for a new one" if left < SOON_DAYS else ""
    return Finding("certificate", True, f"{host}:{port}: valid until {last:%Y-%m-%d}{renew}")


def check_registration(address: Address, authority: Path | None, key: ec.EllipticCurvePrivateKey) -> list[Finding]:
    """Check that the SuperLink knows the node's key, and that the two clocks agree.

    The node asks to be activated with a heartbeat that no SuperLink takes: that is refused before anything happens,
    and otherwise than a key that is not registered. It does not appear as online, and a SuperNode that runs with the
    key goes on.
    """
    import httpx

    # Private to Flower, whose pinned version makes them safe to use; a test talks with a real SuperLink through them.
    from flwr.proto.fleet_pb2 import ActivateNodeRequest
    from flwr.supercore.error import ApiErrorCode, FlowerError
    from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
    from flwr.supercore.primitives.asymmetric import public_key_to_bytes
    from flwr.supernode.fleet_http_client import FleetHttpClient
    from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

    dates: list[str] = []

    def keep_date(context: object, call_next: Callable[[object], httpx.Response]) -> httpx.Response:
        response = call_next(context)
        dates.append(response.headers.get("date", ""))
        return response

    interceptors = [
        RuntimeVersionHttpInterceptor(component_name="SuperNode"),
        NodeAuthHttpInterceptor(key, key.public_key()),
        type("KeepDate", (), {"intercept": staticmethod(keep_date)})(),
    ]
    host, port = address
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    trusted = authority.read_bytes() if authority else None
    client = FleetHttpClient.from_server_address(place, authority is None, trusted, interceptors=interceptors)
    refused: httpx.HTTPStatusError | None = None
    try:
        with client:
            client.ActivateNode(
                ActivateNodeRequest(public_key=public_key_to_bytes(key.public_key()), heartbeat_interval=0.0)
            )
    except httpx.HTTPStatusError as error:
        refused = error
    except (httpx.HTTPError, RuntimeError, OSError) as error:
        return [Finding("registration", False, f"{place}: {error}")]
    clock = _clock(dates[-1] if dates else "")
    told = FlowerError.from_json(refused.response.text) if refused else None
    if told is not None and told.code == ApiErrorCode.FLEET_INVALID_HEARTBEAT_INTERVAL:
        return [*clock, Finding("registration", True, "the SuperLink knows this key")]
    if told is not None and told.code == ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED:
        why = "the SuperLink does not know this key"
        hint = "the operator of the server registers it with deploy/register_node.sh and the file that ends in .pub"
    else:
        why = f"the SuperLink answers: {refused.response.text[:200] if refused else 'nothing that was expected'}"
        hint = "is it of the same Flower version as this node?" if all(f.ok for f in clock) else "set the clock first"
    return [*clock, Finding("registration", False, f"{why}; {hint}")]


def _clock(date: str) -> list[Finding]:
    """Compare this machine's clock with the date of an answer."""
    try:
        theirs = parsedate_to_datetime(date)
    except (TypeError, ValueError):
        return []
    ahead = (datetime.now(UTC) - theirs).total_seconds()
    if -BEHIND_SECONDS < ahead < AHEAD_SECONDS:
        return [Finding("clock", True, f"{abs(ahead):.0f} s from the server's")]
    where = "ahead of" if ahead > 0 else "behind"
    return [Finding("clock", False, f"{abs(ahead):.0f} s {where} the server's; its signatures are refused: set it")]


def _connected(address: Address, context: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection(address, PATIENCE)
    try:
        return context.wrap_socket(plain, server_hostname=address[0])
    except BaseException:
        plain.close()
        raise


def _refusal(address: Address, error: ssl.SSLCertVerificationError) -> str:
    """Say what is wrong with a server's certificate, from the certificate itself."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # only to read what was refused
    try:
        with _connected(address, context) as connection:
            found = x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")
    except (OSError, ValueError):
        return f"its certificate is refused ({error.verify_message})"
    renewed = "the server's operator makes a new one with deploy/certificates.sh"
    if error.verify_code == EXPIRED:
        return f"its certificate expired on {found.not_valid_after_utc:%Y-%m-%d %H:%M} UTC; {renewed}"
    if error.verify_code == NOT_YET:
        return f"its certificate is valid from {found.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on; is this clock right?"
    if error.verify_code in (WRONG_NAME, WRONG_ADDRESS):
        return f"its certificate is for {', '.join(_names(found)) or 'nobody'}, not for {address[0]}; {renewed}"
    return f"its certificate is not from this authority ({error.verify_message}); is this the server's ca.crt?"


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in names]
