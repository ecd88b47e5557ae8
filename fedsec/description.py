"""What a run runs on and who holds what: written beside its rounds at every start."""

import platform
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedsec.client_app import choose_device
from fedsec.data.partition import partition_hash
from fedsec.holdings import class_names, renumbered, statistics
from fedsec.metrics.classification import of_source
from fedsec.nodes import FederationError, NodeReport
from fedsec.runs.checks import shortage
from fedsec.runs.config import RunConfig
from fedsec.runs.record import RunFolder
from fedsec.scenario import (
    can_attack,
    code_hash,
    held_out,
    malicious,
    measured_pairs,
    pair_of,
    partition_settings,
    partitions,
    trigger,
)
from fedsec.strategies import RobustStrategy
from fedsec.victims import adversary

SAMPLES = 8
PACKAGES = (
    "fedsec",
    "flwr",
    "flwr-datasets",
    "ray",
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "scikit-learn",
    "hdbscan",
)


def describe(
    config: RunConfig,
    folder: RunFolder,
    strategy: RobustStrategy,
    reports: Mapping[int, NodeReport],
    about: Mapping[str, Any],
    last_round: int,
) -> list[str]:
    """Keep what the run runs on, who holds what, and a few images; return what a person should know before it starts.

    A run that goes on keeps what is known of its earlier starts: ``starts`` has an entry for each, ``code`` names
    all codes that it was run with, and ``notices`` only grow.

    Args:
        config: the run's configuration.
        folder: where ``environment.json`` and ``samples.npz`` go.
        strategy: the defense, with its options.
        reports: what the nodes say of themselves, by partition.
        about: what the clients run on; ``engine`` is its name.
        last_round: round that the run goes on from; 0 at its beginning.
    """
    test, attackers = held_out(config), malicious(config)
    names, own = class_names(config, test), config.data.partition == "own"
    earlier = folder.environment() if (folder.path / "environment.json").exists() else {}
    held = _known_before(earlier) | _held(reports, len(names))
    counts = [held.get(partition, [0] * len(names)) for partition in range(config.federation.clients)]
    # What is dealt out the server can compute; of data that each client has of its own it knows what it is told.
    dealt = None if own else partition_hash(partitions(config))
    start, starts = _start(config, about, last_round), _starts(earlier)
    notices = _notices(config, held, attackers) + _idle(strategy, config) + _changes(starts, start)
    starts.append(start)
    folder.write_environment(
        {
            **{key: start[key] for key in ("versions", "python", "platform", "engine", "device")},
            "code": "+".join(dict.fromkeys(entry["code"] for entry in starts)),
            "seed": config.run.seed,
            "partition": {"seed": None if own else partition_settings(config).seed, "sha256": dealt},
            "class_counts": counts,
            "never_seen": [p for p in range(config.federation.clients) if p not in held],
            "classes": list(names),
            "mean": list(statistics(config, test)[0]),
            "std": list(statistics(config, test)[1]),
            "malicious": list(attackers),
            "strategy": type(strategy).__name__,
            "options": _options(strategy),
            "notices": list(dict.fromkeys([*earlier.get("notices", []), *notices])),
            "starts": starts,
        }
    )
    chosen = np.flatnonzero(_concerned(config, renumbered(test, names), len(names)))[:SAMPLES]
    stamp = trigger(config, test.images.shape[1:])
    folder.write_samples(clean=test.images[chosen], triggered=stamp.stamp(test.images[chosen]))
    return notices


def check_same_data(config: RunConfig, folder: RunFolder, reports: Mapping[int, NodeReport]) -> None:
    """Refuse to go on with a run whose data have changed; to be called before anybody computes on them.

    Args:
        config: the run's configuration.
        folder: the run's folder.
        reports: what the nodes say of themselves, by partition.

    Raises:
        FederationError: the run was begun with its data dealt out otherwise.
    """
    if not (folder.path / "environment.json").exists():
        return
    earlier = folder.environment()
    before = earlier["partition"]["sha256"]
    dealt = None if config.data.partition == "own" else partition_hash(partitions(config))
    if before is None or dealt is None:
        known = _known_before(earlier)
        held = known | _held(reports, len(class_names(config, held_out(config))))
        for partition, counts in known.items():
            if list(held[partition]) != list(counts):
                raise FederationError(
                    f"{folder.path}: partition {partition} has other data than when this run was begun (examples of "
                    f"each class {counts} then, {held[partition]} now); bring it back, or start a new run"
                )
    elif before != dealt:
        raise FederationError(
            f"{folder.path}: the data has changed since this run was begun (partition {before[:12]} then, {dealt[:12]} "
            "now); bring it back, or start a new run"
        )


def versions() -> dict[str, str | None]:
    """Return the version of each package that decides numbers; ``None`` for one that is not there."""
    return {name: _version(name) for name in PACKAGES}


def _known_before(earlier: Mapping[str, Any]) -> dict[int, list[int]]:
    """Return what is known of clients from the run's earlier starts, by partition."""
    unseen = earlier.get("never_seen", ())
    return {p: counts for p, counts in enumerate(earlier.get("class_counts", ())) if p not in unseen}


def _held(reports: Mapping[int, NodeReport], classes: int) -> dict[int, list[int]]:
    """Return how many examples of each class the nodes say that they hold, by partition."""
    return {partition: _padded(report.class_counts, classes) for partition, report in reports.items()}


def _start(config: RunConfig, about: Mapping[str, Any], last_round: int) -> dict[str, Any]:
    """Return what this start of the run runs on."""
    return {
        "round": last_round,
        "code": code_hash(),
        "versions": versions(),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "device": str(choose_device(config.federation.device)),
        **about,
    }


def _starts(earlier: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the starts that an environment tells of; one of before they were kept tells of the first."""
    if not earlier:
        return []
    keys = ("code", "versions", "python", "platform", "engine", "device")
    return list(earlier.get("starts") or [{"round": 0, **{key: earlier[key] for key in keys}}])


def _concerned(config: RunConfig, labels: NDArray[np.int64], num_classes: int) -> NDArray[np.bool_]:
    """Return which test images (N,) the attack is about."""
    if adversary(config) is not None:
        return np.equal(labels, config.attack.victim)
    pairs = measured_pairs(config, num_classes)
    if pairs is None or config.generative:
        return np.ones(len(labels), bool)
    mask: NDArray[np.bool_] = np.any([of_source(labels, *pair) for pair in pairs], axis=0)
    return mask


def _padded(counts: Sequence[int], classes: int) -> list[int]:
    """Return what a node says that it holds as one number a class, whatever length its list has."""
    return [*counts, *([0] * classes)][:classes]


def _notices(config: RunConfig, counts: Mapping[int, Sequence[int]], attackers: Sequence[int]) -> list[str]:
    notices = [
        f"client {client} holds no example and will be left out"
        for client, c in sorted(counts.items())
        if not sum(c) and client != adversary(config)  # which rebuilds what others hold
    ]
    notices += [
        f"client {client} is malicious but {_lacking(config, client, counts[client])}: it trains as an honest one does"
        for client in attackers
        if sum(counts.get(client, ())) and not can_attack(config, client, counts[client])
    ]
    if why := shortage(config):
        notices.append(f"a round from which a single client is dropped will be skipped: {why}")
    return notices


def _idle(strategy: RobustStrategy, config: RunConfig) -> list[str]:
    """Tell of a defense whose warm-up is as long as the run."""
    warmup, rounds = getattr(strategy, "warmup_rounds", None), config.federation.rounds
    if warmup is None or rounds > warmup + 1:
        return []
    return [f"with defense.warmup-rounds = {warmup} detection begins in round {warmup + 2}, and the run has {rounds}"]


def _lacking(config: RunConfig, client: int, class_counts: Sequence[int]) -> str:
    pair = pair_of(config, client, len(class_counts))
    if pair is None or pair[0] is None:
        return "has too few images for a single copy"
    return f"holds no image of class {pair[0]}"


def _changes(starts: Sequence[Mapping[str, Any]], now: Mapping[str, Any]) -> list[str]:
    """Tell of a run that was begun on something else than it goes on with."""
    if not starts:
        return []
    first = starts[0]
    notices = [
        f"this run was begun with {word} {key} ({first[key]}) than it goes on with ({now[key]})"
        for key, word in (("code", "other"), ("engine", "another"), ("device", "another"))
        if first[key] != now[key]
    ]
    other = [name for name, version in now["versions"].items() if first["versions"].get(name) != version]
    if other:
        before, after = (", ".join(f"{name} {of['versions'].get(name)}" for name in other) for of in (first, now))
        notices.append(f"this run was begun with other packages ({before}) than it goes on with ({after})")
    return notices


def _options(strategy: RobustStrategy) -> dict[str, Any]:
    plain = (bool, int, float, str, type(None))
    return {key: value for key, value in vars(strategy).items() if isinstance(value, plain) and key[0] != "_"}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
