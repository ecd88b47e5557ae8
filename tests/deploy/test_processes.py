"""Every service of the compose files, as a process of this machine: same program, same options, other paths and ports.

What a container would add (its user, its networks, its limits) is not here. What is: Flower takes each option, the
certificates and secrets fit together, and the nodes are registered, online, healthy, and gone when removed.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests import processes
from tests.deploy.compositions import DEPLOY, load, program_of
from tests.deploy.test_scripts import done
from tests.deployment.federation import free_port

BIN = Path(sys.executable).parent
PATIENCE = 180.0
SEVERAL = ("compose.server.yml", "compose.node.yml")
ONE = ("compose.one-host.yml",)
INSECURE = ("compose.one-host.yml", "compose.insecure.yml")

pytestmark = pytest.mark.slow


@dataclass
class Loopback:
    """Starts services, and knows where each of their addresses went."""

    folder: Path
    ports: dict[str, int] = field(default_factory=dict)
    logs: dict[str, Path] = field(default_factory=dict)
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FLWR_", "FEDSEC_"))}
        settings = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
        settings["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] = "1"
        return kept | settings | {"FLWR_HOME": str(self.folder), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}

    def port(self, address: str) -> int:
        """Return the free port that stands for ``service:port``."""
        if address not in self.ports:
            self.ports[address] = free_port()
        return self.ports[address]

    def start(self, name: str, composition: dict[str, Any]) -> None:
        """Start one service."""
        service = composition["services"][name]
        self.logs[name] = self.folder / f"{name}.log"
        state = self.folder / name
        state.mkdir()
        command = [str(BIN / program_of(service))]
        for word in service["command"]:
            option, _, value = word.partition("=")
            if value.startswith("/run/secrets/"):
                value = str(self.folder / composition["secrets"][value.rpartition("/")[2]]["file"])
            elif option == "--host":
                value = "127.0.0.1"
            elif option == "--port":
                value = str(self.port(f"{name}:{value}"))
            elif option in ("--superlink", "--runtime-api-address"):
                value = f"localhost:{self.port(value)}"
            elif option == "--health-server-address":
                value = f"127.0.0.1:{self.port(f'{name} {value}')}"
            command.append(f"{option}={value}".rstrip("=").replace("/var/lib/fedsec", str(state)))
        with self.logs[name].open("w") as log:
            process = subprocess.Popen(
                command, cwd=state, env=self.environment | {"HOME": str(state), "FLWR_HOME": str(state / "flower")},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self.started.append(process)

    def healthy(self, name: str, composition: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        """Do what a service's health check does."""
        [_, program, url] = composition["services"][name]["healthcheck"]["test"]
        assert program == "fedsec-health"
        scheme, host, port, path = re.fullmatch(r"(\w+)://([\d.]+):(\d+)(.*)", url).groups()
        here = self.port(f"{name} {host}:{port}" if scheme == "grpc" else f"{name}:{port}")
        check = [sys.executable, DEPLOY / "health.py", f"{scheme}://{host}:{here}{path}"]
        return subprocess.run(check, env=self.environment, capture_output=True, text=True, timeout=60)

    def nodes(self) -> list[str]:
        """Return the nodes' states, as ``flwr supernode list`` shows them."""
        listing = [BIN / "flwr", "supernode", "list", "remote", "--format", "json"]
        said = subprocess.run(listing, env=self.environment, capture_output=True, text=True, timeout=60).stdout
        return [node["status"] for node in json.loads(said).get("nodes", [])] if said.startswith("{") else []

    def script(self, name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run one of the scripts."""
        command = [DEPLOY / name, *map(str, arguments)]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120)


@pytest.fixture
def loopback(tmp_path: Path) -> Iterator[Loopback]:
    loopback = Loopback(tmp_path)
    yield loopback
    # Tasks' processes are found by their parent's folder, whatever their own environment says.
    for folder in sorted(tmp_path.iterdir()):
        processes.end("HOME", str(folder))
    for process in loopback.started:
        process.wait()


def wait_for(what: str, condition: Any, logs: dict[str, Path]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            said = "\n".join(f"{name}:\n{log.read_text()}" for name, log in logs.items())
            raise TimeoutError(f"{what} did not come about in {PATIENCE:.0f} s\n{said}")
        time.sleep(0.5)


@pytest.mark.parametrize("files", [SEVERAL, ONE, INSECURE], ids=lambda files: files[-1])
def test_the_services_come_up_and_their_nodes_join_and_go(loopback: Loopback, files: tuple[str, ...]) -> None:
    secure = files is not INSECURE
    folder = loopback.folder
    certificates = folder / "certificates"
    names = ["node-0", "node-1"] if files is not SEVERAL else ["hospital-1"]
    done("certificates.sh", "--out", certificates, "localhost", "127.0.0.1", "superlink", "supernode-0", "supernode-1")
    done("certificates.sh", "--out", folder / "runtime", "localhost", "127.0.0.1", "supernode")
    done("node_key.sh", "--out", folder / "keys", *names)
    done("superexec_secret.sh", "--out", folder / "superexec.secret")
    given = {
        "FEDSEC_DATA_FOLDER": "./data",
        "FEDSEC_SUPERLINK": "superlink:8000",
        "FEDSEC_NODE_CONFIG": 'partition-id=0 data="/srv/fedsec/data"',
        "FEDSEC_NODE_KEY": "./keys/hospital-1.key",
    }
    parts = [load(file, **given) for file in files] if files is SEVERAL else [load(*files, **given)]
    connection = f'root-certificates = "{certificates / "ca.crt"}"' if secure else "insecure = true"
    address = f"localhost:{loopback.port('superlink:8000')}"
    (folder / "config.toml").write_text(f'[superlink.remote]\naddress = "{address}"\n{connection}\n')

    loopback.start("superlink", parts[0])
    wait_for("health of superlink", lambda: loopback.healthy("superlink", parts[0]).returncode == 0, loopback.logs)
    if secure:
        keys = [folder / "keys" / f"{name}.key.pub" for name in names]
        registered = loopback.script("register_node.sh", *keys)
        assert registered.returncode == 0, registered.stderr
        assert loopback.nodes() == ["registered"] * len(names)
    rest = [(name, part) for part in parts for name in part["services"] if name != "superlink"]
    for name, part in rest:
        loopback.start(name, part)
    wait_for("every node online", lambda: loopback.nodes() == ["online"] * len(names), loopback.logs)
    for name, part in rest:
        wait_for(f"health of {name}", lambda n=name, p=part: loopback.healthy(n, p).returncode == 0, loopback.logs)
    for name, log in loopback.logs.items():
        assert not re.search(r"unrecognized|[Dd]eprecated|Traceback|Exit Code", log.read_text()), name

    if secure:
        removed = loopback.script("remove_node.sh", names[0])
        assert removed.returncode == 0, removed.stderr
        [supernode] = [name for name, _ in rest if name.startswith("supernode")][:1]
        ended = loopback.logs[supernode]
        wait_for("end of the removed node", lambda: "Application shutdown complete" in ended.read_text(), loopback.logs)
        again = loopback.script("register_node.sh", keys[0])
        assert again.returncode == 2
        assert "Public key already in use" in again.stderr


def test_a_superexec_with_another_secret_gets_no_work(loopback: Loopback) -> None:
    folder = loopback.folder
    done("certificates.sh", "--out", folder / "certificates", "localhost", "superlink")
    done("superexec_secret.sh", "--out", folder / "superexec.secret")
    composition = load("compose.server.yml", FEDSEC_DATA_FOLDER="./data")
    loopback.start("superlink", composition)
    wait_for("health", lambda: loopback.healthy("superlink", composition).returncode == 0, loopback.logs)
    done("superexec_secret.sh", "--out", folder / "other.secret")
    composition["secrets"]["superexec.secret"]["file"] = "other.secret"
    loopback.start("serverapp", composition)
    said = loopback.logs["superlink"]
    wait_for("refusal", lambda: "SuperExec authentication failed" in said.read_text(), loopback.logs)
    assert "SuperExec authentication failed" in said.read_text()


def test_the_health_check_fails_where_nothing_answers(loopback: Loopback) -> None:
    for scheme in ("http", "https", "grpc"):
        url = f"{scheme}://127.0.0.1:{loopback.port(scheme)}/health"
        check = subprocess.run([sys.executable, DEPLOY / "health.py", url], capture_output=True, text=True, timeout=60)
        assert check.returncode == 1
        assert url in check.stderr
