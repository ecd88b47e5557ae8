"""What a configuration decides for both sides of a run, server and clients: data, attackers, trigger."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedsec.attacks.adversaries import malicious_clients
from fedsec.attacks.triggers import Trigger, make_trigger
from fedsec.attacks.untargeted_backdoor import number_of_copies
from fedsec.data.datasets import load
from fedsec.data.partition import PartitionSettings, load_partition
from fedsec.runs.config import RunConfig
from fedsec.seeds import Purpose, derived_seed, generator


def partition_settings(config: RunConfig) -> PartitionSettings:
    """Return how the training examples are dealt out.

    Raises:
        ValueError: nothing is, because each client has a data set of its own.
    """
    if config.data.partition == "own":
        raise ValueError('data.partition = "own" deals nothing out')
    seed = derived_seed(config.run.seed, Purpose.PARTITION)
    data, clients = config.data, config.federation.clients
    return PartitionSettings(config.data.partition, clients, data.q, data.alpha, seed, data.share)


def partitions(config: RunConfig, folder: str = "") -> list[NDArray[np.int64]]:
    """Return the indices of every client's training examples, in the copy of the data set in ``folder``."""
    return list(_partitions(config.data.dataset, partition_settings(config), folder))


def malicious(config: RunConfig) -> tuple[int, ...]:
    """Return the partitions of the malicious clients, ascending."""
    if config.attack.kind == "none":
        return ()
    if config.attack.clients:
        return tuple(sorted(int(partition) for partition in config.attack.clients.split()))
    rng = generator(config.run.seed, Purpose.ADVERSARIES)
    return malicious_clients(config.federation.clients, config.attack.share, rng)


def can_attack(config: RunConfig, class_counts: Sequence[int]) -> bool:
    """Tell whether a malicious client with so many examples of each class has anything to attack with.

    A backdoor needs an image to put its trigger on. Without one the client trains as an honest one does.
    """
    return config.attack.kind == "untargeted" or triggered_copies(config, class_counts) > 0


def triggered_copies(config: RunConfig, class_counts: Sequence[int]) -> int:
    """Return how many triggered copies a malicious client with so many examples of each class trains on."""
    attack = config.attack
    if attack.kind == "backdoor":
        return sum(class_counts[attack.source : attack.source + 1])
    if attack.kind == "untargeted-backdoor":
        return number_of_copies(sum(class_counts), attack.label_share)
    return 0


def attack_rounds(config: RunConfig) -> range:
    """Return the rounds in which the malicious clients attack."""
    return range(config.attack.start_round, (config.attack.end_round or config.federation.rounds) + 1)


def trigger(config: RunConfig, shape: tuple[int, ...]) -> Trigger:
    """Return the trigger for images of a ``shape`` (C, H, W)."""
    channels, height, width = shape
    return make_trigger(
        config.attack.trigger,
        (channels, height, width),
        size=config.attack.trigger_size,
        corner=config.attack.trigger_corner,
        rng=generator(config.run.seed, Purpose.TRIGGER),
    )


@lru_cache(maxsize=4)
def _partitions(name: str, settings: PartitionSettings, folder: str) -> tuple[NDArray[np.int64], ...]:
    train = load(name, "train", folder)
    return tuple(load_partition(train.labels, len(train.classes), settings, train.folder))


@lru_cache(maxsize=1)
def code_hash() -> str:
    """Return a short hash of this package's files: a client that runs other code than the server is an error."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()[:12]
