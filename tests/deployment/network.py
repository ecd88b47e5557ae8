"""Hosts of their own on one machine: network namespaces with an address each, joined by a switch."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.deployment.federation import PROJECT, Host
from tests.deployment.services import Service

PREFIX = "fedsec-"
SUBNET = "10.77.0"


@dataclass(frozen=True)
class Cable:
    """How bad the way between a host and the switch is: seconds each way, share of packets lost each way."""

    delay: float = 0.0
    loss: float = 0.0
    seed: int = 0


@dataclass
class Network:
    """Namespaces by name, each with one interface to a switch in a namespace of its own.

    Nothing of them touches the machine's own network, and nothing is left when the block ends.

    Args:
        folder: for the logs of slow cables.
        cables: names of the hosts, in the order of their addresses, and how bad their cables are.
    """

    folder: Path
    cables: Mapping[str, Cable]
    name: str = field(default_factory=lambda: f"{PREFIX}{os.getpid()}-{secrets.token_hex(2)}")
    relays: list[Service] = field(default_factory=list, init=False)

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def host(self, name: str) -> Host:
        """Return a host's address and how to enter it."""
        number = 1 + list(self.cables).index(name)
        return Host(f"{SUBNET}.{number}", ("ip", "netns", "exec", self._namespace(name)))

    def cut(self, name: str) -> None:
        """Pull a host's cable out of the switch."""
        ip("-n", self._namespace("switch"), "link", "set", name, "down")

    def mend(self, name: str) -> None:
        """Put it back."""
        ip("-n", self._namespace("switch"), "link", "set", name, "up")

    def ping(self, source: str, target: str, count: int = 200) -> dict[str, Any]:
        """Return how many echoes came back from one host to another, and their median time."""
        command = [sys.executable, "-m", "tests.deployment.ping", self.host(target).address, "--count", str(count)]
        done = subprocess.run(
            [*self.host(source).enter, *command], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=120
        )
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def remove(self) -> None:
        """End everything that runs in the namespaces, and the namespaces."""
        for relay in self.relays:
            relay.kill()
        remove_namespaces(self.name + "-")

    def _build(self) -> None:
        switch = self._namespace("switch")
        for name in ("switch", *self.cables):
            ip("netns", "add", self._namespace(name))
            ip("-n", self._namespace(name), "link", "set", "lo", "up")
        ip("-n", switch, "link", "add", "bridge", "type", "bridge", "stp_state", "0", "forward_delay", "0")
        ip("-n", switch, "link", "set", "bridge", "up")
        for name, cable in self.cables.items():
            namespace = self._namespace(name)
            if cable.delay or cable.loss:
                self._lay_slow_cable(name, cable)
            else:
                ip("-n", switch, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", namespace)
                ip("-n", switch, "link", "set", name, "master", "bridge", "up")
            ip("-n", namespace, "address", "add", f"{self.host(name).address}/24", "dev", "eth0")
            ip("-n", namespace, "link", "set", "eth0", "up")

    def _lay_slow_cable(self, name: str, cable: Cable) -> None:
        command = [
            "ip", "netns", "exec", self._namespace("switch"), sys.executable, PROJECT / "tests/deployment/relay.py",
            "--port", name, "--bridge", "bridge", "--namespace", self._namespace(name),
            "--delay", str(cable.delay), "--loss", str(cable.loss), "--seed", str(cable.seed),
        ]  # fmt: skip
        relay = Service(self.folder / f"cable-{name}", command, os.environ)
        self.relays.append(relay)
        relay.start()
        relay.wait_for_text("ready", 30)

    def _namespace(self, name: str) -> str:
        return f"{self.name}-{name}"


def ip(*arguments: str) -> str:
    """Call ``ip``; return what it prints."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def remove_namespaces(prefix: str = PREFIX) -> list[str]:
    """End the processes in all namespaces whose names begin with ``prefix``; remove and return the namespaces."""
    found = [line.split()[0] for line in ip("netns", "list").splitlines() if line.startswith(prefix)]
    for name in found:
        while running := ip("netns", "pids", name).split():
            for process in running:
                subprocess.run(["kill", "-9", process], capture_output=True)
            time.sleep(0.05)
        ip("netns", "delete", name)
    return found


def why_impossible() -> str | None:
    """Return why this machine cannot have such hosts, or ``None`` if it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "the command ip (iproute2) is not installed"
    if not Path("/dev/net/tun").exists():
        return "/dev/net/tun, which the slow cable needs, is not there"
    probe = f"{PREFIX}probe-{os.getpid()}"
    try:
        ip("netns", "add", probe)
        ip("-n", probe, "link", "add", "bridge", "type", "bridge")
        ip("-n", probe, "link", "add", "one", "type", "veth", "peer", "name", "two")
    except RuntimeError as error:
        return f"this machine makes no network namespaces, bridges or veth pairs: {error}"
    finally:
        subprocess.run(["ip", "netns", "delete", probe], capture_output=True)
    return None
