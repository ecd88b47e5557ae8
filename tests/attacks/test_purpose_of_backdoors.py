"""Against plain averaging, every trigger, source and way to hide raises backdoor accuracy far above the floor."""

from functools import cache as remembered
from typing import Any

import numpy as np
import pytest

from fedsec.engine.run import execute
from fedsec.runs.loading import parse
from fedsec.runs.record import RunFolder
from tests.engine.conftest import Silent

LAST = 3
"""Rounds at the end that are averaged, because single ones go up and down."""

ALL = {"sources": "all", "label-share": 0.3}
CASES: dict[str, dict[str, Any]] = {
    "in the centre": {"trigger-corner": "centre"},
    "every class": ALL,
    "blended": {"trigger": "blend", "trigger-opacity": 0.5, "sources": "all"},
    "distributed": {"trigger": "distributed", **ALL},
    "near an honest model": {"evasion": "penalty", "evasion-weight": 0.01, **ALL},
}
MEASURED = ("sources", "trigger", "trigger-corner", "trigger-opacity")
"""The options that say what BA is, with nobody attacking as well."""


@remembered
def federate(*options: tuple[str, Any]) -> tuple[float, float]:
    """Return MA and BA of five clients, two of them malicious where anybody is, through the local engine."""
    config = parse(
        {
            "data": {"q": 0.3},
            "federation": {"clients": 5, "rounds": 10, "batch-size": 16, "device": "cpu"},
            "attack": {"share": 0.4, **dict(options)},
            "defense": {"strategy": "fedavg"},
        }
    )
    folder = RunFolder.create(config)
    execute(config, folder, Silent(), engine="local")
    last = folder.rounds()[-LAST:]
    return float(np.mean([line["MA"] for line in last])), float(np.mean([line["BA"] for line in last]))


@pytest.mark.parametrize("name", CASES)
def test_it_raises_backdoor_accuracy_and_hides_in_main_task_accuracy(name: str) -> None:
    attack = CASES[name]
    ma, ba = federate(*attack.items())
    honest_ma, floor = federate(("kind", "none"), *((key, attack[key]) for key in MEASURED if key in attack))
    assert floor < 10
    assert ba > floor + 50
    assert ma > honest_ma - 10
