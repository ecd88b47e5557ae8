#!/opt/fedsec/bin/python
"""Tells by its exit code whether a Flower process answers: fedsec-health https://127.0.0.1:8000/health.

SuperLink and SuperNode answer at /health of their port; a superexec has a gRPC health service, grpc://HOST:PORT.
"""

import ssl
import sys
import urllib.request
from urllib.parse import urlsplit

SECONDS = 5.0


def asks_http(url: str) -> None:
    """Raise unless ``url`` answers with 200."""
    # A process that asks itself over loopback: its certificate names the host that others know it by.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    with opener.open(url, timeout=SECONDS):
        pass


def asks_grpc(address: str) -> None:
    """Raise unless the health service at ``address`` says SERVING."""
    import grpc  # only a superexec has this service, and importing it takes a while
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(address) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise OSError(f"it answers with status {answer.status}")


def main(arguments: list[str]) -> int:
    """Ask the one address that is given."""
    if len(arguments) != 1 or urlsplit(arguments[0]).scheme not in ("http", "https", "grpc"):
        print("usage: fedsec-health http://HOST:PORT/PATH | https://HOST:PORT/PATH | grpc://HOST:PORT", file=sys.stderr)
        return 2
    url = urlsplit(arguments[0])
    try:
        asks_grpc(url.netloc) if url.scheme == "grpc" else asks_http(arguments[0])
    except Exception as error:  # whatever it is, the process does not answer as it should
        print(f"fedsec-health: {arguments[0]}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
