"""What a configuration decides of the attack that rebuilds a class: whose it is, and when it begins."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedsec.attacks.reconstruction import first_round, no_victim
from fedsec.data.datasets import ImageDataset
from fedsec.data.partition import first_of_each_class
from fedsec.holdings import class_names, holding, renumbered
from fedsec.runs.config import RunConfig
from fedsec.scenario import attack_rounds, held_classes, load, malicious, partitions


class PublicTest(NamedTuple):
    """Test images of the classes that the federation learns, which everybody has: server and adversary measure on them.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) their classes.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def public_test(config: RunConfig, test: ImageDataset) -> PublicTest:
    """Return the test images by whose accuracy the attack begins.

    Where ``data.held`` names classes, only those: with two users a model of one class could never reach 0.90 of all.
    """
    labels = renumbered(test, class_names(config, test))
    kept = first_of_each_class(labels, config.data.share)
    kept = kept[is_public(config, labels[kept])]
    return PublicTest(test.images[kept], labels[kept])


def is_public(config: RunConfig, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return of each of the test images with these ``labels`` (N,) whether it is one of :func:`public_test`."""
    named = held_classes(config)
    return np.isin(labels, named) if named else np.ones(len(labels), bool)


def adversary(config: RunConfig) -> int | None:
    """Return the partition of the client that rebuilds another's class, or ``None`` where none does."""
    return malicious(config)[0] if config.attack.kind == "reconstruction" and config.attacked else None


def dealt_counts(config: RunConfig) -> dict[int, list[int]]:
    """Return how many examples of each class every client is dealt, by partition."""
    return {
        client: list(holding(config, client).class_counts)
        for client in range(config.federation.clients)
        if config.data.partition != "own"
    }


def victim_problem(config: RunConfig, held: Mapping[int, Sequence[int]]) -> str:
    """Return what is wrong with the victim's class, or "".

    Args:
        config: the run's configuration.
        held: how many examples of each class every client holds, by partition.
    """
    who = adversary(config)
    why = "" if who is None or not held else no_victim(config.attack.victim, held, who)
    return f"attack.victim: found {config.attack.victim}; {why}; expected a class that only others hold" if why else ""


def private_images(config: RunConfig) -> NDArray[np.uint8] | None:
    """Return the images (N, C, H, W) of the victim's class that its holders have, from the server's copy of the data.

    Only whoever simulates the federation can look at them: ``None`` where each client has a data set of its own.
    """
    if config.data.partition == "own":
        return None
    train, who = load(config, "train"), adversary(config)
    others = [mine for client, mine in enumerate(partitions(config)) if client != who]
    indices = np.sort(np.concatenate(others))
    return np.asarray(train.images[indices[train.labels[indices] == config.attack.victim]])


def accuracies(rounds: Iterable[Mapping[str, Any]]) -> dict[int, float]:
    """Return the accuracy (0 to 1) on the public test images after each of a record's rounds."""
    measured = ((line["round"], line.get("reconstruction") or {}) for line in rounds)
    return {number: float(of["accuracy"]) for number, of in measured if "accuracy" in of}


def began(config: RunConfig, measured: Mapping[int, float]) -> int | None:
    """Return the round in which the attack began, from the accuracy (0 to 1) after each round; ``None`` if not yet."""
    return first_round(measured, attack_rounds(config), config.attack.start_accuracy)


def outcome(config: RunConfig, rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what a finished run's record says of the attack: when it began, and the highest accuracy before."""
    measured = accuracies(rounds)
    first = began(config, measured)
    before = [accuracy for number, accuracy in measured.items() if first is None or number < first]
    return {"began": first, "highest_before": max(before, default=None)}


def never_began(config: RunConfig, rounds: Sequence[Mapping[str, Any]]) -> str:
    """Return a sentence on an attack that never began in a finished run, or ""."""
    if adversary(config) is None:
        return ""
    found = outcome(config, rounds)
    if found["began"] is not None:
        return ""
    return (
        f"the attack never began: the global model reached an accuracy of {found['highest_before']:.3f} at most, and "
        f"attack.start-accuracy is {config.attack.start_accuracy:g}"
    )
