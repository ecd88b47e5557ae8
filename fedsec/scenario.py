"""What a configuration decides for both sides of a run, server and clients: data, attackers, trigger."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedsec.attacks.adversaries import malicious_clients
from fedsec.attacks.distributed import part_of
from fedsec.attacks.triggers import Trigger, make_trigger
from fedsec.attacks.untargeted_backdoor import draw_pair, number_of_copies
from fedsec.data.datasets import ImageDataset
from fedsec.data.partition import PartitionSettings, load_partition
from fedsec.data.public import public_indices
from fedsec.data.resizing import load_sized
from fedsec.data.sources import MissingSplitError, Split
from fedsec.runs.config import RunConfig
from fedsec.runs.loading import ConfigError
from fedsec.seeds import Purpose, derived_seed, generator

Pair = tuple[int | None, int]
"""Source and target of a backdoor; without a source it is every class but the target."""


def load(config: RunConfig, split: Split, folder: str = "") -> ImageDataset:
    """Return a split of the run's data set, in the size that the run has its images.

    Args:
        config: the run's configuration.
        split: ``"train"`` or ``"test"``.
        folder: of the data set on this machine, where its node names one.

    Raises:
        DataError: the data set cannot be had, or has no such split.
    """
    return load_sized(config.data.dataset, split, folder, config.data.size, grey=config.data.grey)


def held_out(config: RunConfig) -> ImageDataset:
    """Return what the server measures on: the test split; for a GAN of a data set that has none, the training split.

    Raises:
        DataError: the data set cannot be had.
    """
    try:
        return load(config, "test")
    except MissingSplitError:
        if not config.generative:
            raise
        return load(config, "train")


def audited_on(config: RunConfig) -> ImageDataset:
    """Return the images against which the server's own discriminator learns: the test split, which no client holds.

    Raises:
        ConfigError: the data set has none; the training split is the clients', which no server has.
        DataError: the data set cannot be had.
    """
    try:
        return load(config, "test")
    except MissingSplitError as error:
        problem = f"defense.audit: found {config.defense.audit!r}, and the server has no images of its own ({error})"
        raise ConfigError([f"{problem}; expected a data set with a test split, or 'none'"]) from None


def partition_settings(config: RunConfig) -> PartitionSettings:
    """Return how the training examples are dealt out.

    Raises:
        ValueError: nothing is, because each client has a data set of its own.
    """
    data, clients = config.data, config.federation.clients
    if data.partition == "own":
        raise ValueError('data.partition = "own" deals nothing out')
    seed = derived_seed(config.run.seed, Purpose.PARTITION)
    return PartitionSettings(data.partition, clients, data.q, data.alpha, seed, data.share, held_classes(config))


def held_classes(config: RunConfig) -> tuple[int, ...]:
    """Return the classes of ``data.held``, client by client; empty where it does not say."""
    return tuple(int(label) for label in config.data.held.split())


def partitions(config: RunConfig, folder: str = "") -> list[NDArray[np.int64]]:
    """Return the indices of every client's training examples, in the copy of the data set in ``folder``."""
    data = config.data
    return list(_partitions(data.dataset, partition_settings(config), folder, data.size, data.grey))


def malicious(config: RunConfig) -> tuple[int, ...]:
    """Return the partitions of the malicious clients, ascending."""
    if config.attack.kind == "none":
        return ()
    if config.attack.clients:
        return tuple(sorted(int(partition) for partition in config.attack.clients.split()))
    rng = generator(config.run.seed, Purpose.ADVERSARIES)
    return malicious_clients(config.federation.clients, config.attack.share, rng)


def pair_of(config: RunConfig, partition: int, num_classes: int) -> Pair | None:
    """Return the source and the target of a partition's backdoor; ``None`` where any class is taken for any other.

    Those of a targeted backdoor are the same for everybody, and are measured with other attacks and none, too. A
    pair of an untargeted one is drawn for each partition and is the same in every round, so that what is learned in
    one round is what is measured after another.
    """
    attack = config.attack
    if attack.kind != "untargeted-backdoor":
        return (None if attack.sources == "all" else attack.source), attack.target
    if attack.labels == "any":
        return None
    return draw_pair(num_classes, generator(config.run.seed, Purpose.ATTACK, 0, partition))


def measured_pairs(config: RunConfig, num_classes: int) -> tuple[Pair, ...] | None:
    """Return the sources and targets whose BA is averaged; ``None`` for the triggered images of every class.

    With an untargeted backdoor there is one pair for each malicious client. Where none is malicious, nobody can say
    whose pairs they would be: those of all clients are taken, of whom the malicious ones of another run are a part.
    """
    one = pair_of(config, 0, num_classes)
    if one is None or config.attack.kind != "untargeted-backdoor":
        return None if one is None else (one,)
    clients = malicious(config) or range(config.federation.clients)
    drawn = (pair_of(config, client, num_classes) for client in clients)
    return tuple(pair for pair in drawn if pair is not None)


def can_attack(config: RunConfig, partition: int, class_counts: Sequence[int]) -> bool:
    """Tell whether a malicious client with so many examples of each class has anything to attack with.

    A backdoor needs an image to put its trigger on. Without one the client trains as an honest one does. Who rebuilds
    another's class needs none.
    """
    return (
        config.attack.kind in ("untargeted", "stamp", "reconstruction")
        or triggered_copies(config, partition, class_counts) > 0
    )


def triggered_copies(config: RunConfig, partition: int, class_counts: Sequence[int]) -> int:
    """Return how many triggered copies a malicious client with so many examples of every class trains on."""
    if config.attack.kind not in ("backdoor", "untargeted-backdoor") or not sum(class_counts):
        return 0
    pair = pair_of(config, partition, len(class_counts))
    if pair is None:
        return number_of_copies(sum(class_counts), config.attack.label_share)
    if pair[0] is None:
        others = sum(class_counts) - sum(class_counts[pair[1] : pair[1] + 1])
        return number_of_copies(others, config.attack.label_share)
    return sum(class_counts[pair[0] : pair[0] + 1])


def public_part(config: RunConfig, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return which examples of the test set are the server's public data; nothing is measured on them.

    Args:
        config: the run's configuration.
        labels: (N,) of the test set.
    """
    return public_indices(labels, config.data.public, generator(config.run.seed, Purpose.PUBLIC))


def attack_rounds(config: RunConfig) -> range:
    """Return the rounds in which the malicious clients attack."""
    return range(config.attack.start_round, (config.attack.end_round or config.federation.rounds) + 1)


def trigger(config: RunConfig, shape: tuple[int, ...]) -> Trigger:
    """Return the trigger for images of a ``shape`` (C, H, W), as it is measured."""
    channels, height, width = shape
    return make_trigger(
        config.attack.trigger,
        (channels, height, width),
        size=config.attack.trigger_size,
        corner=config.attack.trigger_corner,
        opacity=config.attack.trigger_opacity,
        rng=generator(config.run.seed, Purpose.TRIGGER),
    )


def stamped_by(config: RunConfig, partition: int, shape: tuple[int, ...]) -> Trigger:
    """Return what a malicious client stamps on images of a ``shape`` (C, H, W): the trigger, or its part of it.

    Of a distributed trigger each attacker has a part, by its rank among the malicious partitions.
    """
    whole = trigger(config, shape)
    return part_of(whole, malicious(config).index(partition)) if config.attack.trigger == "distributed" else whole


@lru_cache(maxsize=4)
def _partitions(
    name: str, settings: PartitionSettings, folder: str, size: int, grey: bool
) -> tuple[NDArray[np.int64], ...]:
    train = load_sized(name, "train", folder, size, grey=grey)
    return tuple(load_partition(train.labels, len(train.classes), settings, train.folder))


@lru_cache(maxsize=1)
def code_hash() -> str:
    """Return a short hash of this package's files: a client that runs other code than the server is an error."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()[:12]
