"""Notes from inside a project's server: how good the global model is, and what its process has loaded by then."""

import json
import sys
from pathlib import Path

from flwr.app import MetricRecord


def note(file: str, **found: object) -> None:
    """Append a line to ``file``."""
    modules = sorted({module.partition(".")[0] for module in list(sys.modules)})
    with Path(file).open("a") as lines:
        lines.write(json.dumps({**found, "modules": modules}) + "\n")


def watched(evaluate, file: str):
    """Return an evaluation function of either interface that also notes the accuracy that it finds."""

    def evaluate_and_note(server_round, *model):
        found = evaluate(server_round, *model)
        metrics = found if isinstance(found, MetricRecord) else found[1]
        note(file, round=server_round, accuracy=metrics["accuracy"])
        return found

    return evaluate_and_note
