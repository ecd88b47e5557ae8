"""Whether a node's machine has what a run needs: its data, disk and memory."""

import os
import shutil
from pathlib import Path

import numpy as np

from fedsec.client_app import build_client
from fedsec.clients.state import state_folder
from fedsec.data.datasets import cache_folder
from fedsec.data.sources import DataError
from fedsec.holdings import Holding, holding
from fedsec.node_check.finding import Finding
from fedsec.node_settings import NodeSettings, NodeSettingsError, attacks, with_own_attack
from fedsec.runs.config import RunConfig
from fedsec.scenario import malicious
from fedsec.victims import adversary

MIB = 2**20
PROCESS_BYTES = 1024 * MIB
"""What a client's process takes before it has data and a model: Python, torch and Flower."""

COPIES = 8
"""Of a model in memory and on disk at once: as it came, as it is trained, gradients, momentum, reply, two states."""

SPARE_BYTES = 256 * MIB


def check_role(config: RunConfig, node: NodeSettings) -> Finding:
    """Check that node and run agree on the node's place in the federation."""
    if node.partition >= config.federation.clients:
        found = f"partition {node.partition}; the run has partitions 0 to {config.federation.clients - 1}"
        return Finding("role", False, f"{found}, so this node would stay idle")
    try:
        attacking = attacks(node.partition in malicious(config), node)
        with_own_attack(config, node)
    except NodeSettingsError as error:
        return Finding("role", False, str(error))
    return Finding("role", True, f"partition {node.partition}, {'attacker' if attacking else 'honest'}")


def check_data(config: RunConfig, node: NodeSettings) -> tuple[list[Finding], Holding | None]:
    """Check that the node's examples can be read and are labelled; decode them into the cache."""
    try:
        held = holding(config, node.partition, node.data)
    except (DataError, OSError) as error:
        return [Finding("data", False, str(error).removeprefix("data: "))], None
    count, shape = len(held.labels), " x ".join(str(size) for size in held.dataset.images.shape[1:])
    if count == 0 and node.partition == adversary(config):
        return [Finding("data", True, "none, and the attack needs none")], held
    if count == 0:
        return [Finding("data", False, f"partition {node.partition} holds no example; expected at least one")], None
    classes = ", ".join(f"{name}: {n}" for name, n in zip(held.classes, held.class_counts, strict=True))
    absent = sum(1 for n in held.class_counts if n == 0)
    lacking = f"; none of {absent} of {len(held.classes)} classes" if absent else ""
    return [
        Finding("data", True, f"{count} images of {shape}, in {held.dataset.folder}"),
        Finding("labels", True, f"{classes}{lacking}"),
    ], held


def check_space(config: RunConfig, node: NodeSettings, held: Holding) -> list[Finding]:
    """Check that disk and memory hold the examples, the model, and what a client keeps.

    The needs are estimates from the sizes of both; :data:`PROCESS_BYTES` and :data:`COPIES` say of what.
    """
    model = _model_bytes(config, node)
    flower = Path(os.environ.get("FLWR_HOME") or "~/.flwr").expanduser().absolute()
    folders = {"state": state_folder(node.state), "Flower": flower, "data cache": cache_folder()}
    findings = [_disk(name, folder, COPIES * model + SPARE_BYTES) for name, folder in folders.items()]
    need = PROCESS_BYTES + COPIES * model + 2 * int(np.prod(held.dataset.images.shape[1:])) * len(held.labels)
    there = available_memory()
    if there is None:
        return findings
    text = f"{there // MIB} MiB available, about {need // MIB} MiB needed"
    fix = "" if there >= need else "; close something, or take a machine with more"
    return [*findings, Finding("memory", there >= need, text + fix)]


def available_memory() -> int | None:
    """Return how many bytes a new process can take, within the limit of this one's control group, where it is known."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):  # no such group, or "max"
        return free
    return min(free, max(0, limit - used))


def dataset_for(node: NodeSettings) -> tuple[str, str]:
    """Return data set and partition scheme to check where no run is given: the node's own folder, all of it."""
    return (node.data, "own") if node.data else ("digits", "iid")


def _disk(name: str, folder: Path, need: int) -> Finding:
    check = f"disk ({name})"
    there = folder
    while not there.exists():
        there = there.parent
    if not os.access(there, os.W_OK | os.X_OK):
        return Finding(check, False, f"{folder}: this user cannot write to {there}; expected a folder that it can")
    free = shutil.disk_usage(there).free
    text = f"{folder}: {free // MIB} MiB free, about {need // MIB} MiB needed"
    return Finding(check, free >= need, text if free >= need else f"{text}; make room there")


def _model_bytes(config: RunConfig, node: NodeSettings) -> int:
    return sum(array.nbytes for array in build_client(config, node.partition, node).get_parameters({}))
