"""What a run runs on and who holds what: written beside its rounds at every start."""

import platform
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np

from fedsec.client_app import choose_device
from fedsec.data.datasets import load
from fedsec.data.partition import partition_hash
from fedsec.nodes import NodeReport
from fedsec.runs.config import RunConfig
from fedsec.runs.record import RunFolder
from fedsec.scenario import code_hash, malicious, partition_settings, partitions, trigger
from fedsec.strategies import RobustStrategy

SAMPLES = 8
PACKAGES = ("fedsec", "flwr", "flwr-datasets", "ray", "torch", "torchvision", "numpy", "scikit-learn", "hdbscan")


def describe(
    config: RunConfig, folder: RunFolder, strategy: RobustStrategy, reports: Mapping[int, NodeReport], engine: str
) -> list[str]:
    """Keep what the run runs on, who holds what, and a few images; return what a person should know before it starts.

    Args:
        config: the run's configuration.
        folder: where ``environment.json`` and ``samples.npz`` go.
        strategy: the defense, with its options.
        reports: what the nodes say of themselves, by partition.
        engine: what runs the nodes.
    """
    test, attackers = load(config.data.dataset, "test"), malicious(config)
    counts = [_padded(reports[partition].class_counts, len(test.classes)) for partition in sorted(reports)]
    notices = _notices(config, counts, attackers) + _changes(folder)
    folder.write_environment(
        {
            "versions": {name: _version(name) for name in PACKAGES},
            "python": sys.version.split()[0],
            "platform": platform.platform(),
            "engine": engine,
            "device": str(choose_device(config.federation.device)),
            "code": code_hash(),
            "seed": config.run.seed,
            "partition": {"seed": partition_settings(config).seed, "sha256": partition_hash(partitions(config))},
            "class_counts": counts,
            "classes": list(test.classes),
            "malicious": list(attackers),
            "strategy": type(strategy).__name__,
            "options": _options(strategy),
            "notices": notices,
        }
    )
    chosen = np.flatnonzero(test.labels == config.attack.source)[:SAMPLES]
    folder.write_samples(clean=test.images[chosen], triggered=trigger(config, test).stamp(test.images[chosen]))
    return notices


def _padded(counts: Sequence[int], classes: int) -> list[int]:
    """Return what a node says that it holds as one number a class, whatever length its list has."""
    return [*counts, *([0] * classes)][:classes]


def _notices(config: RunConfig, counts: Sequence[Sequence[int]], attackers: Sequence[int]) -> list[str]:
    notices = [
        f"client {client} holds no example and will be left out" for client, c in enumerate(counts) if not sum(c)
    ]
    if config.attack.kind == "backdoor":
        source = config.attack.source
        notices += [
            f"client {client} is malicious but holds no image of class {source}: it trains as an honest one does"
            for client in attackers
            if sum(counts[client]) and not counts[client][source]
        ]
    return notices


def _changes(folder: RunFolder) -> list[str]:
    """Tell of a run that was begun with other code than it goes on with."""
    begun = folder.environment()["code"] if (folder.path / "environment.json").exists() else code_hash()
    return [] if begun == code_hash() else [f"this run was begun with other code ({begun}) than it goes on with"]


def _options(strategy: RobustStrategy) -> dict[str, Any]:
    plain = (bool, int, float, str, type(None))
    return {key: value for key, value in vars(strategy).items() if isinstance(value, plain) and key[0] != "_"}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
