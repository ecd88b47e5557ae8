"""What of a configuration decides a run's numbers: two with the same identity are the same run."""

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from fedsec.runs.config import Flat, RunConfig, Scalar, flatten
from fedsec.runs.sections import GANS, FedganSection, GanSection

LATER: Flat = {
    "data.folders": "",
    "data.classes": "",
    "data.share": 1.0,
    "data.size": 0,
    "data.held": "",
    "data.grey": False,
    "data.public": 0,
    "attack.clients": "",
    "attack.sources": "one",
    "attack.trigger-opacity": "",
    "attack.evasion": "none",
    "attack.total-variation": 0.0,
    "attack.jitter": 0,
    "attack.labels": "any",  # not the default: runs of before had the other reading
    "federation.momentum-buffer": "reset",
    "federation.draw": 0,
    "federation.optimiser": "sgd",
    "fedgan.generator-loss": "non-saturating",
    "defense.audit": "none",
    "defense.warmup-rounds": "",
    "defense.decay": "",
    "defense.gate": "",
    "defense.absolute": "",
    "defense.sides": "",
    "defense.recovery": "",
    "defense.floor": "",
    "defense.smoothing": "",
    "defense.shadows": "",
    "defense.checks": "",
    "defense.repair": "",
    "defense.false-alarms": "",
    "defense.models": "",
    "defense.recovery-steps": "",
    "defense.unlearning-epochs": "",
    "defense.unlearning-rate": "",
    "defense.refresh": "",
    "defense.surrogate-size": "",
    "defense.credit": "",
    "defense.threshold": "",
}

RECONSTRUCTION = ("victim", "start-accuracy", "updates", "generator-rate", "fakes", "total-variation", "jitter")


def same_numbers(value: Any) -> Any:
    """Return whole floats as integers, so that 1.0 and 1 hash alike."""
    return int(value) if isinstance(value, float) and math.isfinite(value) and value.is_integer() else value


def identity(config: RunConfig) -> dict[str, Scalar]:
    """Return the part of the configuration that decides a run's numbers: all but its name, folder and time-outs."""
    left_out = {"run.name", "run.output", "run.resume", "federation.round-timeout", "federation.node-timeout"}
    left_out |= {"federation.device", "federation.gpus-per-client", "federation.cohort-size"}
    left_out |= {"federation.min-clients", "federation.shortage", "federation.balance-timeout"}
    if config.data.balance not in GANS:
        left_out |= {f"gan.{field.name.replace('_', '-')}" for field in fields(GanSection)}
    if config.data.balance == "none":
        left_out |= {"data.fill", "data.filled-epoch", "data.balance-above"}
    if not config.generative:
        left_out |= {f"fedgan.{field.name.replace('_', '-')}" for field in fields(FedganSection)}
    if config.attack.kind != "stamp":
        left_out.add("attack.claim")
    if config.attack.kind != "reconstruction":
        left_out |= {f"attack.{key}" for key in RECONSTRUCTION}
    if config.attack.sources == "all":
        left_out.add("attack.source")
    if config.attack.evasion == "none":
        left_out.add("attack.evasion-weight")
    if config.attack.kind != "untargeted-backdoor":
        left_out.add("attack.labels")
    flat = {key: value for key, value in flatten(config).items() if key not in left_out}
    # Keys that came later: at these values a run of before them has the same numbers, so it has the same identity.
    return {key: same_numbers(value) for key, value in flat.items() if key not in LATER or value != LATER[key]}


def completed(written: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tables that a run wrote down with the keys that came later, at what the run did without them."""
    tables = {name: dict(table) if isinstance(table, Mapping) else table for name, table in written.items()}
    for key, value in LATER.items():
        section, _, name = key.partition(".")
        if isinstance(tables.get(section), dict):  # else it is damaged, which its reader tells
            tables[section].setdefault(name, value)
    return tables
