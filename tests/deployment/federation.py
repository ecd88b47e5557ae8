"""A deployment for tests: a SuperLink and SuperNodes as processes, with TLS and node keys."""

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.deployment.credentials import Credentials, make_key
from tests.deployment.services import MARK, Service

BIN = Path(sys.executable).parent
PROJECT = Path(__file__).parents[2]
CONNECTION = "remote"
PORTS = range(20000, 32000)
"""Below those that the system gives to outgoing connections."""
HANDED_OUT: set[int] = set()
"""Nobody listens on a port yet when it is handed out: it must not be handed out again."""
ACTIVATED = "SuperNode ID:"
"""In a SuperNode's log once the SuperLink has taken it."""


@dataclass(frozen=True)
class Host:
    """Where a process runs: its address, and what goes before its commands (``ip netns exec NAME``)."""

    address: str = "127.0.0.1"
    enter: tuple[str, ...] = ()


@dataclass(frozen=True)
class Node:
    """How one SuperNode is started."""

    partition: int
    key: Path | None
    port: int
    config: str = ""
    host: Host = Host()
    name: str = ""
    root: Path | None = None
    server: str = ""


@dataclass(frozen=True)
class Ended:
    """What became of a run: what ``flwr run`` printed, and the status that the SuperLink gives."""

    output: str
    status: str
    details: str


@dataclass
class Deployment:
    """One SuperLink, its SuperNodes, and Flower's command line; nothing of them is left when the block ends.

    Args:
        folder: for logs, keys, databases and records.
        credentials: the authority and the server's certificate.
        host: where the SuperLink runs.
        environment: added to that of every process.
    """

    folder: Path
    credentials: Credentials
    host: Host = Host()
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    app: Path = PROJECT
    nodes: dict[int, Service] = field(default_factory=dict, init=False)
    plans: dict[int, Node] = field(default_factory=dict, init=False)
    started: list[Service] = field(default_factory=list, init=False)

    def __enter__(self) -> Self:
        self.port = self.port or free_port()
        self.runs.mkdir(parents=True)
        home = self.folder / "cli" / "home"
        home.mkdir(parents=True)
        (home / "config.toml").write_text(
            f'[superlink]\ndefault = "{CONNECTION}"\n[superlink.{CONNECTION}]\naddress = "{self.address}"\n'
            f'root-certificates = "{self.credentials.authority}"\n'
        )
        command = [
            BIN / "flower-superlink", "--host", self.host.address, "--port", str(self.port),
            "--ssl-ca-certfile", self.credentials.authority, "--ssl-certfile", self.credentials.certificate,
            "--ssl-keyfile", self.credentials.key, "--enable-supernode-auth",
            "--database", self.folder / "superlink" / "state.db", "--disable-runtime-dependency-installation",
        ]  # fmt: skip
        self.superlink = self.service("superlink", self.host, command)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for service in (*self.nodes.values(), self.superlink, *self.started):
            service.kill()

    def services(self) -> dict[str, Service]:
        """Return the SuperLink and the nodes, by name."""
        return {service.folder.name: service for service in (self.superlink, *self.nodes.values())}

    @property
    def address(self) -> str:
        return f"{self.host.address}:{self.port}"

    @property
    def runs(self) -> Path:
        """Folder of the records."""
        return self.folder / "runs"

    def start_superlink(self, seconds: float = 60.0) -> None:
        """Start the SuperLink, for the first time or again, and wait until it answers."""
        self.superlink.start()
        deadline = time.monotonic() + seconds
        while self.flower("supernode", "list", CONNECTION, check=False).returncode:
            if not self.superlink.running() or time.monotonic() > deadline:
                raise TimeoutError(f"the SuperLink does not answer:\n{self.superlink.text()[-4000:]}")

    def add_node(self, partition: int, config: str = "", *, host: Host = Host()) -> Node:
        """Make a key for a new node, register it, and start the node; return how it was started."""
        node = Node(partition, make_key(self.folder / "keys", f"node{partition}"), free_port(), config, host)
        self.register(node)
        self.start_node(node)
        return node

    def register(self, node: Node) -> None:
        self.flower("supernode", "register", f"{node.key}.pub", CONNECTION)

    def start_node(self, node: Node | int) -> Service:
        """Start a SuperNode, for the first time or again (by its partition)."""
        plan = self.plans[node] if isinstance(node, int) else node
        self.plans[plan.partition] = plan
        command: list[str | Path] = [
            BIN / "flower-supernode", "--superlink", plan.server or self.address, "--port", str(plan.port),
            "--root-certificates", plan.root or self.credentials.authority,
            "--node-config", f"partition-id={plan.partition} {plan.config}".strip(),
        ]  # fmt: skip
        if plan.key is not None:
            command += ["--auth-supernode-private-key", plan.key]
        service = self.service(plan.name or f"node{plan.partition}", plan.host, command)
        service.start()
        self.nodes[plan.partition] = service
        return service

    def revive_node(self, partition: int, seconds: float = 120.0) -> None:
        """Start a node that was killed again and again, as a supervisor does, until the SuperLink takes it.

        The SuperLink refuses a second SuperNode with the key of one that it takes to be online. It takes one that was
        killed to be online until 60 s after its last sign of life.
        """
        service, deadline = self.nodes[partition], time.monotonic() + seconds
        while time.monotonic() < deadline:
            known = service.text().count(ACTIVATED)
            service.start()
            while service.running() and time.monotonic() < deadline:
                if service.text().count(ACTIVATED) > known:
                    return
                time.sleep(0.2)
            service.kill()
            time.sleep(1.0)
        raise TimeoutError(f"node {partition} does not come back:\n{service.text()[-2000:]}")

    def online(self) -> int:
        """Return how many nodes the SuperLink takes to be online."""
        listing = json.loads(self.flower("supernode", "list", CONNECTION, "--format", "json").stdout)
        return sum(node["status"] == "online" for node in listing.get("nodes", ()))

    def wait_for_nodes(self, count: int, seconds: float = 60.0) -> None:
        """Wait until so many nodes are online."""
        deadline = time.monotonic() + seconds
        while (found := self.online()) != count:
            if time.monotonic() > deadline:
                logs = "\n".join(f"-- {name}: {node.text()[-800:]}" for name, node in sorted(self.nodes.items()))
                raise TimeoutError(f"{found} nodes online, expected {count}:\n{logs}")
            time.sleep(0.5)

    def start_run(self, config: Path | str) -> Service:
        """Call ``flwr run APP --stream`` with a run file, or ``key=value`` pairs, and return at once."""
        command = [BIN / "flwr", "run", self.app, CONNECTION, "--stream", "--run-config", str(config)]
        service = self.service(f"run{len(self.started)}", self.host, command)
        self.started.append(replace(service, environment=self._environment("cli")))
        self.started[-1].start()
        return self.started[-1]

    def finish(self, run: Service, seconds: float = 500.0) -> Ended:
        """Wait until ``flwr run`` has ended, and ask for the status: its exit code is 0 when the app fails, too."""
        run.wait(seconds)
        newest = self.newest_run()
        return Ended(run.text(), newest["status"], newest["status-details"])

    def newest_run(self) -> dict[str, Any]:
        """Return what ``flwr list`` says of the newest run."""
        listing = json.loads(self.flower("list", CONNECTION, "--limit", "1", "--format", "json").stdout)
        newest: dict[str, Any] = listing["runs"][0]
        return newest

    def record(self) -> Path:
        """Return the folder of the newest fedsec run."""
        return max((file.parent for file in self.runs.rglob("config.toml")), key=lambda folder: folder.name)

    def flower(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Call ``flwr`` where the SuperLink is."""
        done = subprocess.run(
            [*self.host.enter, BIN / "flwr", *arguments], cwd=self.folder, env=self._environment("cli"),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        if check and done.returncode:
            raise RuntimeError(f"flwr {' '.join(map(str, arguments))}: {done.stdout}{done.stderr}")
        return done

    def service(self, name: str, host: Host, command: Sequence[str | Path]) -> Service:
        return Service(self.folder / name, [*host.enter, *command], self._environment(name))

    def _environment(self, name: str) -> dict[str, str]:
        """Return the environment of one machine: its own Flower home and state, and nothing of the caller's Flower."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("FLWR_", MARK))}
        return {
            **kept,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.app),
            "PYTHONUNBUFFERED": "1",
            "FLWR_HOME": str(self.folder / name / "home"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
            "FEDSEC_RUNS": str(self.runs),
            "FEDSEC_STATE": str(self.folder / name / "state"),
            "HF_HUB_OFFLINE": "1",
            "NO_COLOR": "1",
            "OMP_NUM_THREADS": "1",
            **self.environment,
        }


def free_port() -> int:
    """Return a port of this machine that nobody listens on, another one each time."""
    for port in random.SystemRandom().sample(sorted(set(PORTS) - HANDED_OUT), 100):
        with socket.socket() as attempt:
            try:
                attempt.bind(("127.0.0.1", port))
            except OSError:
                continue
            HANDED_OUT.add(port)
            return port
    raise RuntimeError(f"no free port from {PORTS.start} to {PORTS.stop - 1}")
