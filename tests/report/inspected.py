"""Finished runs of defenses that look into models, made up."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fedsec.runs.config import RunConfig
from fedsec.runs.record import RunFolder
from fedsec.runs.rounds import RoundRecord
from tests.report.finished import record


def repaired(target: int | None, outcome: str = "repaired") -> dict[str, Any]:
    """Return what GANcrop's record has of one repair."""
    return {"target": target, "size": 16.0, "success": 97.0, "outcome": outcome}


def inspected(
    config: RunConfig, path: Path, accuracies: list[float | None], inspections: list[dict[str, Any]], **more: Any
) -> RunFolder:
    """Write a run whose rounds end with these BAs; the seconds of a round are 2 of training, 1 more of each in turn."""
    folder = record(config, path, 80.0, accuracies[0], **more)
    folder.keep_rounds(0)
    for number, (ba, found) in enumerate(zip(accuracies, inspections, strict=True), start=1):
        seconds = {"train": 2.0, "aggregate": float(number), "evaluate": 100.0, "total": 102.0 + number}
        folder.append_round(
            RoundRecord(round=number, MA=80.0 + number, BA=ba, loss=1.0, inspection=found, seconds=seconds)
        )
    return folder


def with_picture(folder: RunFolder, server_round: int) -> None:
    """Leave a recovered trigger behind."""
    path = folder.path / "recovered" / f"{server_round:06}-trigger.png"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full((4, 8, 3), 255, np.uint8)).save(path)
