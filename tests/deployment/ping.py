"""Echo requests to an address: how long an answer takes, and how many are lost. Needs root, and no ``ping``."""

import argparse
import json
import os
import socket
import statistics
import struct
import time
from dataclasses import asdict, dataclass

REQUEST, REPLY = 8, 0
PATIENCE = 2.0


@dataclass(frozen=True)
class Pings:
    """What came of some echo requests; milliseconds of a round trip."""

    sent: int
    answered: int
    median_ms: float | None


def ping(address: str, count: int, interval: float) -> Pings:
    """Send ``count`` requests, one every ``interval`` seconds, and listen until two seconds after the last."""
    sent: dict[int, float] = {}
    trips: dict[int, float] = {}
    identity = os.getpid() & 0xFFFF
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as connection:
        connection.settimeout(0.005)
        start = time.monotonic()
        while time.monotonic() < start + count * interval + PATIENCE and len(trips) < count:
            if len(sent) < count and time.monotonic() >= start + len(sent) * interval:
                number = len(sent)
                sent[number] = time.monotonic()
                connection.sendto(_request(identity, number), (address, 0))
            try:
                answer = connection.recv(1024)
            except TimeoutError:
                continue
            kind, _, _, whose, number = struct.unpack("!BBHHH", answer[20:28])
            if kind == REPLY and whose == identity:
                trips.setdefault(number, (time.monotonic() - sent[number]) * 1000)
    return Pings(len(sent), len(trips), statistics.median(trips.values()) if trips else None)


def _request(identity: int, number: int) -> bytes:
    header = struct.pack("!BBHHH", REQUEST, 0, 0, identity, number)
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    total = (total >> 16) + (total & 0xFFFF)
    return struct.pack("!BBHHH", REQUEST, 0, ~total & 0xFFFF, identity, number)


def main() -> None:
    """Print what came of the requests as one line of JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("address")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--interval", type=float, default=0.02)
    options = parser.parse_args()
    print(json.dumps(asdict(ping(options.address, options.count, options.interval))))


if __name__ == "__main__":
    main()
