"""The summary of a finished run, from its record."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedsec.metrics.detection import NONE_JUDGED, Detection, detection
from fedsec.runs.config import RunConfig
from fedsec.runs.measures import SCORES, measured, rebuilt_over
from fedsec.runs.record import RunFolder, config_hash
from fedsec.tensors import arrays_hash
from fedsec.victims import adversary, outcome


def summarise(config: RunConfig, folder: RunFolder, arrays: Mapping[str, NDArray[np.generic]]) -> dict[str, Any]:
    """Return the summary of a finished run from its record."""
    rounds = folder.rounds()
    last, trained = rounds[-1], rounds[1:]
    seconds = [record["seconds"]["total"] for record in trained]
    counts = sum((_detection(record["clients"]) for record in trained), NONE_JUDGED)
    return {
        "final": {"MA": last["MA"], "BA": last["BA"], "round": last["round"]} | _scores(last) | _rebuilt(rounds),
        "detection": asdict(counts) | {"rounds": sum(1 for record in trained if not record["skipped"])},
        "seconds_per_round": float(np.median(seconds)),
        "seconds": float(sum(seconds)),
        "peak_memory_mib": max(record["peak_memory_mib"] for record in rounds),
        "dropped": sum(len(record["dropped"]) for record in trained),
        "skipped": sum(1 for record in trained if record["skipped"]),
        "model_sha256": arrays_hash(arrays),
        "config_hash": config_hash(config),
    } | ({} if adversary(config) is None else {"reconstruction": outcome(config, rounds)})


def _scores(last: Mapping[str, Any]) -> dict[str, Any]:
    """Return the last scores of a generator, and whose features they are of; nothing of a classifier."""
    if not last.get("generation"):
        return {}
    scores = {name: value for name, value in measured(last).items() if name in SCORES}
    return {**scores, "features": last["generation"][0]["features"]}


def _rebuilt(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what was rebuilt of a class in all rounds, ``None`` where nothing was; nothing of other runs."""
    if not rounds[-1].get("reconstruction"):
        return {}
    return {name: None if value != value else value for name, value in rebuilt_over(rounds).items()}


def _detection(clients: Sequence[Mapping[str, Any]]) -> Detection:
    malicious_clients = [client["client"] for client in clients if client["role"] == "malicious"]
    judged = [client for client in clients if client["role"] != "dormant"]
    return detection([c["client"] for c in judged], [c["weight"] for c in judged], malicious_clients)
