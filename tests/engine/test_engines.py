"""The engines give the same numbers, run after run and one beside the other."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from fedsec import measuring
from fedsec.data.datasets import load
from fedsec.engine.simulation import run_on_ray
from fedsec.runs.checkpoint import load_checkpoint
from fedsec.scenario import pair_of
from fedsec.strategies import STRATEGIES, InspectingStrategy, RobustFedAvg
from fedsec.training.evaluation import Evaluator
from tests.engine.conftest import config, run
from tests.strategies.toy import CLIENTS, FAULTS, MAKERS, Arrays, initial_arrays, toy_app, toy_round


def test_the_same_seed_gives_the_same_model_and_another_seed_another() -> None:
    first, again, other = (run(config(run__seed=seed), "local")[0] for seed in (0, 0, 1))
    assert first["model_sha256"] == again["model_sha256"]
    assert first["model_sha256"] != other["model_sha256"]


@pytest.mark.slow
def test_ray_gives_the_same_model_twice_and_the_one_of_the_local_engine() -> None:
    gan = {"gan__steps": 4, "gan__batch_size": 8, "gan__width": 8}
    configuration = config(data__balance="cgan", data__fill="mean", data__q=0.9, **gan)
    once, folder, observer = run(configuration, "ray")
    again, _, _ = run(configuration, "ray")
    local, local_folder, _ = run(configuration, "local")
    assert once["model_sha256"] == again["model_sha256"]
    assert observer.rounds == [1, 2, 3]
    assert sorted(observer.filled_clients) == list(range(10))
    ours, theirs = load_checkpoint(folder.checkpoint), load_checkpoint(local_folder.checkpoint)
    assert ours is not None
    assert theirs is not None
    for key, array in ours.arrays.items():
        np.testing.assert_allclose(array, theirs.arrays[key], atol=1e-5)
    assert once["final"]["MA"] == pytest.approx(local["final"]["MA"], abs=0.5)


@pytest.mark.slow
def test_faults_on_ray_are_those_of_the_local_grid() -> None:
    names = ["nan", "raises", "wrong shape", "too many examples"]

    def serve(grid: Grid) -> tuple[Arrays, dict[int, str]]:
        strategy = RobustFedAvg()
        partitions = {node: i for i, node in enumerate(sorted(grid.get_node_ids()))}
        while len(partitions) < CLIENTS:
            partitions = {node: i for i, node in enumerate(sorted(grid.get_node_ids()))}
        sent = ArrayRecord({key: Array(array) for key, array in initial_arrays().items()})
        replies = grid.send_and_receive(strategy.configure_train(1, sent, ConfigRecord(), grid), timeout=60)
        arrays, _ = strategy.aggregate_train(1, replies)
        assert arrays is not None
        assert strategy.outcome is not None
        reasons = {client.node_id: client.reason for client in strategy.outcome.dropped}
        return {key: array.numpy() for key, array in arrays.items()}, reasons

    arrays, reasons = run_on_ray(_several_faults(names), CLIENTS, serve)
    expected = toy_round(RobustFedAvg(), toy_app(), range(len(names), CLIENTS))
    assert expected is not None
    for key, array in expected.items():
        np.testing.assert_allclose(arrays[key], array, atol=1e-6)
    assert len(reasons) == len(names)
    for name in names:
        assert any(FAULTS[name][1] in reason for reason in reasons.values())


def _several_faults(names: list[str]) -> ClientApp:
    def fault(arrays: Arrays, metrics: dict[str, Any]) -> None:
        FAULTS[names[int(metrics["num-examples"]) - 10]][0](arrays, metrics)

    return toy_app(fault, range(len(names)))


@pytest.mark.slow
def test_a_client_that_sleeps_past_the_time_out_is_given_up(tmp_path: Path) -> None:
    def dawdle(arrays: Arrays, metrics: dict[str, Any]) -> None:
        time.sleep(10.0)

    def serve(grid: Grid) -> list[str]:
        while len(list(grid.get_node_ids())) < 4:
            time.sleep(0.1)
        strategy = RobustFedAvg()
        sent = ArrayRecord({key: Array(array) for key, array in initial_arrays().items()})
        list(grid.send_and_receive(strategy.configure_train(1, sent, ConfigRecord(), grid), timeout=60))
        messages = strategy.configure_train(2, sent, ConfigRecord(), grid)
        strategy.aggregate_train(2, grid.send_and_receive(messages, timeout=5.0))
        assert strategy.outcome is not None
        assert strategy.outcome.skipped is None
        return [client.reason for client in strategy.outcome.dropped]

    reasons = run_on_ray(toy_app(dawdle, [0]), 4, serve)
    assert reasons == ["no answer"]


@pytest.mark.parametrize("name", MAKERS)
def test_every_strategy_runs_from_its_configuration(name: str) -> None:
    options: dict[str, dict[str, Any]] = {
        "krum": {"num_malicious": 3},
        "multi-krum": {"num_malicious": 3},
        "trimmed-mean": {"trim_ratio": 0.4},
        "norm-clip-noise": {"clip": 1.0, "noise": 0.001},
        "gancrop": {"shadows": 20, "recovery_steps": 5},
        "gansweep": {"recovery_steps": 5},
        "abnormal-clients": {"shadows": 4},
    }
    given = {f"defense__{key}": value for key, value in options.get(name, {}).items()}
    given["data__public"] = 50 if issubclass(STRATEGIES[name], InspectingStrategy) else 0
    summary, folder, _ = run(config(federation__rounds=1, defense__strategy=name, **given), "local")
    assert summary["final"]["round"] == 1
    assert len(folder.rounds()[1]["clients"]) == 10
    assert folder.environment()["options"]["seed"] == 0
    assert folder.environment()["engine"] == "local"


def test_a_client_without_examples_is_reported_and_left_out() -> None:
    summary, folder, observer = run(config(data__partition="dirichlet", data__alpha=0.01, run__seed=3), "local")
    empty = [client for client, counts in enumerate(folder.environment()["class_counts"]) if not sum(counts)]
    assert empty
    assert f"client {empty[0]} holds no example and will be left out" in observer.notices
    assert {"node_id": empty[0]} == {k: folder.rounds()[1]["dropped"][0][k] for k in ("node_id",)}
    assert summary["dropped"] == 3 * len(empty)


def test_a_malicious_client_without_the_source_class_is_reported_and_counts_as_no_attacker() -> None:
    summary, folder, observer = run(config(data__partition="one-class", federation__rounds=2), "local")
    environment = folder.environment()
    lacking = {c for c in environment["malicious"] if not environment["class_counts"][c][0]}
    assert lacking
    assert len([text for text in observer.notices if "holds no image of class 0" in text]) == len(lacking)
    roles = [{client["client"]: client["role"] for client in record["clients"]} for record in folder.rounds()[1:]]
    attacking = set(environment["malicious"]) - lacking
    for of in roles:
        assert {client for client, role in of.items() if role == "dormant"} == lacking
        assert {client for client, role in of.items() if role == "malicious"} == attacking
    assert summary["detection"]["malicious"] == 2 * len(attacking)
    assert summary["detection"]["honest"] == 2 * 6


def test_a_defense_with_no_client_to_spare_is_told_before_the_first_round() -> None:
    tight = {"defense__strategy": "krum", "defense__num_malicious": 3, "federation__rounds": 1}
    told = {}
    for clients in (9, 10):
        share = 0.2 if clients == 10 else 1 / 3
        _, _, observer = run(config(federation__clients=clients, attack__share=share, **tight), "local")
        told[clients] = [text for text in observer.notices if "a single client is dropped" in text]
    assert told[9] == [
        "a round from which a single client is dropped will be skipped: "
        "Krum needs n >= 2 * num_malicious + 3 clients; got n=8 and num_malicious=3."
    ]
    assert told[10] == []


def test_detection_counts_attackers_only_while_they_attack() -> None:
    summary, folder, _ = run(config(attack__start_round=3), "local")
    assert summary["detection"]["malicious"] == 4
    assert summary["detection"]["honest"] == 18
    roles = [sorted({client["role"] for client in record["clients"]}) for record in folder.rounds()[1:]]
    assert roles == [["dormant", "honest"], ["dormant", "honest"], ["honest", "malicious"]]


def test_a_fraction_of_the_clients_trains_in_a_round() -> None:
    _, folder, _ = run(config(federation__fraction=0.5), "local")
    sampled = [[client["client"] for client in record["clients"]] for record in folder.rounds()[1:]]
    assert {len(clients) for clients in sampled} == {5}
    assert len({tuple(clients) for clients in sampled}) > 1


def test_an_untargeted_run_has_no_backdoor_accuracy() -> None:
    summary, folder, _ = run(config(attack__kind="untargeted"), "local")
    assert summary["final"]["BA"] is None
    assert folder.rounds()[1]["BA"] is None


def test_a_backdoor_of_any_labels_is_measured_on_every_class_attacked_or_not() -> None:
    both = [
        run(config(attack__kind="untargeted-backdoor", attack__labels="any", attack__share=share), "local")[1].rounds()
        for share in (0.0, 0.4)
    ]
    unattacked, attacked = both
    assert unattacked[0] | {"seconds": None} == attacked[0] | {"seconds": None}
    assert unattacked[0]["BA"] > 70  # an untrained model takes every image for one or two classes
    assert unattacked[-1]["BA"] != attacked[-1]["BA"]


def test_backdoors_of_pairs_rise_and_a_client_without_its_source_is_honest() -> None:
    own = {"attack__kind": "untargeted-backdoor", "data__partition": "one-class", "federation__rounds": 1}
    setting = config(**own, attack__clients="1 2 3 4")
    _, folder, _ = run(setting, "local")
    sources = {client: pair_of(setting, client, 10)[0] for client in (1, 2, 3, 4)}
    counts = folder.environment()["class_counts"]
    armed = {client for client, source in sources.items() if counts[client][source]}
    attacking = {c["client"] for c in folder.rounds()[1]["clients"] if c["role"] == "malicious"}
    assert attacking == armed
    told = [notice for notice in folder.environment()["notices"] if "is malicious but" in notice]
    assert told == [
        f"client {client} is malicious but holds no image of class {sources[client]}: it trains as an honest one does"
        for client in sorted(set(sources) - armed)
    ]
    assert told


def test_a_share_of_the_data_is_dealt_out_and_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(measuring, "Evaluator", lambda *given: sizes.append(len(given[2])) or Evaluator(*given))
    _, folder, _ = run(config(data__share=0.1, federation__rounds=1), "local")
    counts = np.array(folder.environment()["class_counts"])
    np.testing.assert_array_equal(counts.sum(0), np.ceil(np.bincount(load("digits", "train").labels) / 10))
    assert sizes == [np.ceil(np.bincount(load("digits", "test").labels) / 10).sum()]


@pytest.fixture
def two_threads() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_the_number_of_threads_of_the_process_changes_no_number() -> None:
    reference = run(config(federation__rounds=2), "local")[0]
    import torch

    torch.set_num_threads(1)
    assert run(config(federation__rounds=2), "local")[0]["model_sha256"] == reference["model_sha256"]
