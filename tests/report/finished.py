"""What finished runs leave behind, without running anything."""

from pathlib import Path
from typing import Any

import numpy as np

from fedsec.runs.config import RunConfig
from fedsec.runs.loading import parse_flat
from fedsec.runs.record import RunFolder
from fedsec.runs.rounds import RoundRecord


def record(config: RunConfig, path: Path, ma: float, ba: float | None, code: str = "abc", **more: Any) -> RunFolder:
    """Write what a finished run of one round leaves behind."""
    folder = RunFolder.create(config, path)
    folder.append_round(RoundRecord(round=0, MA=10.0, BA=0.0, loss=2.0, class_accuracy=[]))
    folder.append_round(RoundRecord(round=1, MA=ma, BA=ba, loss=1.0, class_accuracy=[], seconds={"total": 2.0}))
    folder.write_environment(
        {"code": code, "versions": {"flwr": "1.41.0"}, "python": "3.11", "device": "cpu", "malicious": [1],
         "class_counts": [[3, 4], [5, 0]], "classes": ["a", "b"]}
    )  # fmt: skip
    images = np.zeros((2, 1, 4, 4), np.uint8)
    folder.write_samples(clean=images, triggered=images + 255)
    trouble = {name: more.pop(name, 0) for name in ("dropped", "skipped")}
    counts = {"caught": 3, "malicious": 4, "false_alarms": 1, "honest": 10, "rounds": 1} | more
    folder.write_summary(
        {"final": {"MA": ma, "BA": ba, "round": 1}, "detection": counts, "seconds_per_round": 2.0, **trouble}
    )  # fmt: skip
    return folder


def config(strategy: str = "fedavg", seed: int = 0, kind: str = "backdoor", **settings: Any) -> RunConfig:
    """Return a configuration; ``settings`` are further keys, as ``data_q`` for ``data.q``."""
    flat = {key.replace("_", ".", 1).replace("_", "-"): value for key, value in settings.items()}
    return parse_flat({"run.seed": seed, "attack.kind": kind, "defense.strategy": strategy} | flat)
