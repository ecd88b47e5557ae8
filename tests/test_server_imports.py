"""A server that aggregates numpy arrays loads neither torch nor Ray, nor what only reports, data or FLAME need."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import Strategy

from fedsec.engine.local import LocalGrid
from fedsec.strategies import STRATEGIES, RobustFedAvg, RobustStrategy

NEVER = {"torch", "torchvision", "ray", "datasets", "flwr_datasets", "matplotlib", "pydantic", "PIL"}
CLUSTERING = {"hdbscan", "sklearn", "scipy", "pandas"}
"""What comes with HDBSCAN; scikit-learn loads pandas where it is installed."""

ONE_ROUND = """
import json, sys
from tests.strategies.toy import CLIENTS, MAKERS, Array, ArrayRecord, ToyGrid, initial_arrays, toy_app

strategy = MAKERS[sys.argv[1]](fraction_evaluate=0.0, min_train_nodes=CLIENTS)
sent = ArrayRecord({key: Array(array) for key, array in initial_arrays().items()})
strategy.start(ToyGrid(toy_app(), CLIENTS), sent, num_rounds=1)
print(json.dumps({"judged": len(strategy.outcome.verdict.weights), "modules": sorted(sys.modules)}))
"""


@cache
def packages_after_a_round(name: str) -> set[str]:
    """Return the packages that a process has loaded in which the strategy ``name`` has judged one round."""
    environment = dict(os.environ) | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", ONE_ROUND, name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["judged"] == 9
    return {module.partition(".")[0] for module in found["modules"]}


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_loads_no_torch_no_ray_and_nothing_of_data_or_reports(name: str) -> None:
    assert packages_after_a_round(name) & NEVER == set()


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "flame"])
def test_only_flame_loads_what_clustering_needs(name: str) -> None:
    assert packages_after_a_round(name) & CLUSTERING == set()


def test_flame_does_load_it_so_that_the_test_above_can_fail() -> None:
    assert {"hdbscan", "sklearn"} <= packages_after_a_round("flame")


def test_flame_tells_when_it_is_built_that_hdbscan_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hdbscan", None)
    with pytest.raises(ModuleNotFoundError, match="hdbscan"):
        STRATEGIES["flame"]()


def test_the_loop_over_rounds_is_flowers_own_so_that_a_newer_one_keeps_its_arguments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert all(strategy.start is RobustStrategy.start for strategy in STRATEGIES.values())
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(Strategy, "start", lambda self, *args, **keywords: calls.append((*args, keywords)))
    grid = LocalGrid(ClientApp(), 1)
    RobustFedAvg().start(grid, "arrays", should_stop="an argument of a newer Flower")
    assert calls[0][0].inner is grid
    assert calls[0][1:] == ("arrays", {"should_stop": "an argument of a newer Flower"})
