"""What can happen to a federation at any moment: each fault does its harm, and then what an operator would do."""

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests import processes
from tests.deployment.cable import Cable
from tests.deployment.clock import Clock
from tests.deployment.credentials import make_key
from tests.deployment.federation import ACTIVATED, Deployment, Host, Node, free_port
from tests.deployment.services import MARK

VICTIM = 1
"""The partition whose node is harmed."""

SERVER_DISK, NODE_DISK = "4m", "3m"
"""Enough for the run's record, and for three states of a client."""

JUMP_SECONDS = 3600
PATIENCE = 60.0
"""Seconds that a file which is to be damaged may let wait for itself."""
RESTART_SECONDS = 5.0
READY = "Uvicorn running on https"


@dataclass
class Scene:
    """A deployment that something is to happen to.

    Attributes:
        deployment: its SuperLink and nodes.
        cable: what connects the victim.
        clocks: of the server, and of the victim.
        moments: random choices of the fault.
    """

    deployment: Deployment
    cable: Cable
    clocks: Mapping[str, Clock]
    moments: random.Random

    @property
    def victim(self) -> Path:
        """Folder of the victim's machine."""
        return self.deployment.folder / f"node{VICTIM}"


Fault = Callable[[Scene, float], None]
"""Does harm, lets so many seconds pass, and mends what an operator would mend."""


def node_killed(scene: Scene, seconds: float) -> None:
    scene.deployment.nodes[VICTIM].kill()
    time.sleep(seconds)


def server_killed(scene: Scene, seconds: float) -> None:
    scene.deployment.superlink.kill()
    time.sleep(seconds)
    _start(scene.deployment)


def run_killed(scene: Scene, seconds: float) -> None:
    """End the process that aggregates, and leave the SuperLink as it is."""
    for process in server_apps(scene.deployment):
        os.kill(process, signal.SIGKILL)
    time.sleep(seconds)


def server_disk_full(scene: Scene, seconds: float) -> None:
    with _filled(scene.deployment.runs):
        time.sleep(seconds)


def node_disk_full(scene: Scene, seconds: float) -> None:
    with _filled(scene.victim / "state"):
        time.sleep(seconds)


def network_cut(scene: Scene, seconds: float) -> None:
    scene.cable.cut()
    time.sleep(seconds)
    scene.cable.mend()


def node_clock_jump(scene: Scene, seconds: float) -> None:
    _jump(scene, "node", seconds)


def server_clock_jump(scene: Scene, seconds: float) -> None:
    _jump(scene, "server", seconds)


def corrupt_state_file(scene: Scene, seconds: float) -> None:
    """Change one byte of the newest state that the victim keeps, once it keeps one."""
    if files := _awaited(scene.victim / "state", "*.safetensors"):
        _flip(files[-1], scene.moments)
    time.sleep(seconds)


def corrupt_checkpoint(scene: Scene, seconds: float) -> None:
    """End the process that aggregates, once there is a checkpoint, and change one byte of the newest."""
    _awaited(scene.deployment.runs, "latest.safetensors")
    run_killed(scene, 0.5)
    _flip(next(scene.deployment.runs.rglob("latest.safetensors")), scene.moments)
    time.sleep(seconds)


FAULTS: dict[str, Fault] = {
    "node killed": node_killed,
    "server killed": server_killed,
    "run killed, SuperLink alive": run_killed,
    "disk full on the server": server_disk_full,
    "disk full on a node": node_disk_full,
    "network cut": network_cut,
    "clock jump on a node": node_clock_jump,
    "clock jump on the server": server_clock_jump,
    "corrupt state file": corrupt_state_file,
    "corrupt checkpoint": corrupt_checkpoint,
}


@contextlib.contextmanager
def scene_of(
    deployment: Deployment, clocks: Mapping[str, Clock], nodes: int, moments: random.Random
) -> Iterator[Scene]:
    """Start a deployment whose victim has a cable, a small disk and a clock of its own, and a server with a small disk.

    Args:
        deployment: with the server's clock for its host.
        clocks: of the ``server`` and of the victim, ``node``.
        nodes: how many.
        moments: random choices of the fault.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_small_disk(deployment.runs, SERVER_DISK))
        _start(deployment)
        cable = stack.enter_context(Cable((deployment.host.address, deployment.port)))
        scene = Scene(deployment, cable, clocks, moments)
        stack.enter_context(_small_disk(scene.victim / "state", NODE_DISK))
        for partition in range(nodes):
            if partition != VICTIM:
                deployment.add_node(partition)
                continue
            node = Node(
                partition, make_key(deployment.folder / "keys", "victim"), free_port(),
                host=Host(enter=clocks["node"].enter), server=f"127.0.0.1:{cable.port}",
            )  # fmt: skip
            deployment.register(node)
            deployment.start_node(node)
        for service in deployment.nodes.values():
            service.wait_for_text(ACTIVATED, 180)
        stack.enter_context(supervised(deployment))
        yield scene


@contextlib.contextmanager
def supervised(deployment: Deployment) -> Iterator[None]:
    """Start each node again some seconds after it has ended, as systemd does, however often it ends."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(RESTART_SECONDS):
            for partition, node in list(deployment.nodes.items()):
                if not node.running() and not over.is_set():
                    node.kill()  # what is left of it
                    deployment.start_node(partition)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(60)


def server_apps(deployment: Deployment) -> list[int]:
    """Return the processes that aggregate, among those of the SuperLink."""
    found = []
    for process in processes.with_environment(MARK, str(deployment.superlink.folder)):
        with contextlib.suppress(OSError):
            if b"flwr-serverapp" in Path(f"/proc/{process}/cmdline").read_bytes():
                found.append(process)
    return found


def _start(deployment: Deployment) -> None:
    """Start the SuperLink, and read in its log when it is there: to ask it takes a process of seconds."""
    before, deadline = deployment.superlink.text().count(READY), time.monotonic() + 180
    deployment.superlink.start()
    while deployment.superlink.text().count(READY) == before:
        if not deployment.superlink.running() or time.monotonic() > deadline:
            raise TimeoutError(f"the SuperLink does not start:\n{deployment.superlink.text()[-2000:]}")
        time.sleep(0.1)


def _jump(scene: Scene, whose: str, seconds: float) -> None:
    way = scene.moments.choice((JUMP_SECONDS, -JUMP_SECONDS))
    scene.clocks[whose].jump(way)
    time.sleep(seconds)
    scene.clocks[whose].jump(0)


def _awaited(folder: Path, pattern: str) -> list[Path]:
    """Return the files of this pattern in a folder, sorted, once there is one; none after ``PATIENCE``."""
    deadline = time.monotonic() + PATIENCE
    while not (files := sorted(folder.rglob(pattern))) and time.monotonic() < deadline:
        time.sleep(0.2)
    return files


def _flip(file: Path, moments: random.Random) -> None:
    """Change one byte of the arrays in a file, which lie behind its header."""
    content = bytearray(file.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    content[moments.randrange(header, len(content))] ^= moments.randrange(1, 256)
    file.write_bytes(bytes(content))


@contextlib.contextmanager
def _small_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        kept = folder.with_name(f"{folder.name}.kept")
        subprocess.run(["cp", "-a", folder, kept], check=True)
        subprocess.run(["umount", "--lazy", folder], check=True)
        folder.rmdir()
        kept.rename(folder)


@contextlib.contextmanager
def _filled(folder: Path) -> Iterator[None]:
    """Leave no room on a folder's disk."""
    file = folder / "fill"
    with contextlib.suppress(OSError), file.open("wb") as filling:
        while True:
            filling.write(b"x" * 4096)
            filling.flush()
    try:
        yield
    finally:
        file.unlink()
