"""A slow, lossy cable: carries frames between two TAP devices, each frame late, and some of them never.

The kernel's own way is ``tc qdisc ... netem``, which many kernels of containers and virtual machines lack. This one
needs /dev/net/tun only, and its losses are drawn from a seed.
"""

import argparse
import fcntl
import os
import random
import selectors
import struct
import subprocess
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

TUNSETIFF = 0x400454CA
TAP, NO_PACKET_INFORMATION = 0x0002, 0x1000
LARGEST_FRAME = 65536


@dataclass
class Direction:
    """Frames on their way to one end of the cable.

    Args:
        deliver: takes a frame out of the cable.
        delay: seconds that each frame takes.
        loss: share of the frames that are lost.
        rng: draws which.
    """

    deliver: Callable[[bytes], object]
    delay: float
    loss: float
    rng: random.Random
    frames: deque[tuple[float, bytes]] = field(default_factory=deque)
    carried: int = 0
    lost: int = 0

    def take(self, frame: bytes, now: float) -> None:
        """Put a frame into the cable, unless this is one of those that are lost."""
        if self.rng.random() < self.loss:
            self.lost += 1
        else:
            self.carried += 1
            self.frames.append((now + self.delay, frame))

    def release(self, now: float) -> None:
        """Deliver the frames that have arrived by ``now``."""
        while self.frames and self.frames[0][0] <= now:
            self.deliver(self.frames.popleft()[1])

    def next_arrival(self) -> float:
        """Return when the next frame arrives."""
        return self.frames[0][0] if self.frames else float("inf")


def open_tap(name: str) -> int:
    """Make a TAP device in this process's namespace; it is gone when the returned file is closed."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), TAP | NO_PACKET_INFORMATION))
    return device


def carry(ends: tuple[int, int], delay: float, loss: float, seed: int) -> None:
    """Carry frames between two devices for ever."""
    rng = random.Random(seed)
    ways = {source: Direction(_writer(target), delay, loss, rng) for source, target in (ends, ends[::-1])}
    with selectors.DefaultSelector() as selector:
        for source in ways:
            selector.register(source, selectors.EVENT_READ)
        while True:
            arrival = min(way.next_arrival() for way in ways.values())
            ready = selector.select(None if arrival == float("inf") else max(0.0, arrival - time.monotonic()))
            for key, _ in ready:
                frame = os.read(key.fd, LARGEST_FRAME)
                ways[key.fd].take(frame, time.monotonic())
            for way in ways.values():
                way.release(time.monotonic())


def _writer(device: int) -> Callable[[bytes], object]:
    def write(frame: bytes) -> None:
        try:
            os.write(device, frame)
        except OSError:
            return  # the device is down: as on a cable, the frame is lost

    return write


def main() -> None:
    """Make the devices, give one to a bridge and one to a namespace, and carry frames between them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--port", required=True, help="name of the device at the bridge")
    parser.add_argument("--bridge", required=True)
    parser.add_argument("--namespace", required=True, help="where the other device goes, as eth0")
    parser.add_argument("--delay", type=float, required=True, help="seconds each way")
    parser.add_argument("--loss", type=float, required=True, help="share of frames, each way")
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    ends = open_tap(options.port), open_tap("far0")
    for command in (
        ["link", "set", options.port, "master", options.bridge, "up"],
        ["link", "set", "far0", "netns", options.namespace, "name", "eth0"],
    ):
        subprocess.run(["ip", *command], check=True)
    print("ready", flush=True)
    carry(ends, options.delay, options.loss, options.seed)


if __name__ == "__main__":
    main()
