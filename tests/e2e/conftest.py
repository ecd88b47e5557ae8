"""A home for Flower with a SuperLink of its own, ended with the session."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import processes
from tests.deployment.federation import free_port

BIN = Path(sys.executable).parent
PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class FlowerRun:
    """What became of a ``flwr run``: its output, and the status that it ended with."""

    output: str
    status: str
    details: str


@dataclass(frozen=True)
class FlowerHome:
    """Runs Flower's own command line with one environment."""

    folder: Path
    environment: dict[str, str]

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def run(self, app: Path, *arguments: str, here: Path | None = None) -> FlowerRun:
        """Call ``flwr run APP --stream`` and ask for its status: its exit code is 0 when the app fails, too."""
        command = [BIN / "flwr", "run", app, "--stream", *arguments]
        done = subprocess.run(
            command, cwd=here or self.folder, env=self.environment, capture_output=True, text=True, timeout=300
        )
        listing = subprocess.run(
            [BIN / "flwr", "list", "--limit", "1", "--format", "json"],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        newest: dict[str, Any] = json.loads(listing.stdout)["runs"][0]
        return FlowerRun(done.stdout + done.stderr, newest["status"], newest["status-details"])

    def records(self) -> list[Path]:
        """Return the folders of all fedsec runs, oldest first."""
        return sorted(file.parent for file in self.runs.rglob("config.toml"))


@pytest.fixture(scope="session")
def flower(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[FlowerHome]:
    folder = tmp_path_factory.mktemp("flower")
    port = free_port()
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("FLWR_", "FEDSEC_"))},
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "FLWR_HOME": str(folder / "home"),
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(port),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FEDSEC_CACHE": str(cache),
        "FEDSEC_RUNS": str(folder / "runs"),
        "FEDSEC_DATA": str(folder / "data"),
        "HF_HUB_OFFLINE": "1",
    }
    (folder / "data").mkdir()
    yield FlowerHome(folder, environment)
    processes.end("FLWR_HOME", str(folder / "home"))


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project as its users have it: in a folder of its name, without what git ignores."""
    folder = tmp_path_factory.mktemp("clone") / "fedsec"
    folder.mkdir()
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in listing.stdout.splitlines():
        source, target = PROJECT / name, folder / name
        if source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_symlink():
                target.symlink_to(source.readlink())
            else:
                target.write_bytes(source.read_bytes())
    return folder
