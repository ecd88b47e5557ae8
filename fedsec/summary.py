"""The summary of a finished run, from its record."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedsec.metrics.detection import NONE_JUDGED, Detection, detection
from fedsec.runs.config import RunConfig
from fedsec.runs.record import RunFolder, config_hash
from fedsec.tensors import arrays_hash


def summarise(config: RunConfig, folder: RunFolder, arrays: Mapping[str, NDArray[np.generic]]) -> dict[str, Any]:
    """Return the summary of a finished run from its record."""
    rounds = folder.rounds()
    last, trained = rounds[-1], rounds[1:]
    seconds = [record["seconds"]["total"] for record in trained]
    counts = sum((_detection(record["clients"]) for record in trained), NONE_JUDGED)
    return {
        "final": {"MA": last["MA"], "BA": last["BA"], "round": last["round"]},
        "detection": asdict(counts) | {"rounds": sum(1 for record in trained if not record["skipped"])},
        "seconds_per_round": float(np.median(seconds)),
        "seconds": float(sum(seconds)),
        "peak_memory_mib": max(record["peak_memory_mib"] for record in rounds),
        "dropped": sum(len(record["dropped"]) for record in trained),
        "skipped": sum(1 for record in trained if record["skipped"]),
        "model_sha256": arrays_hash(arrays),
        "config_hash": config_hash(config),
    }


def _detection(clients: Sequence[Mapping[str, Any]]) -> Detection:
    malicious_clients = [client["client"] for client in clients if client["role"] == "malicious"]
    judged = [client for client in clients if client["role"] != "dormant"]
    return detection([c["client"] for c in judged], [c["weight"] for c in judged], malicious_clients)
