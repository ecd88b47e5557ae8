"""The record of a run on engine "cohort" is the one of engine "local", whoever trains its clients."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedsec.engine import throughput
from fedsec.engine.run import Job, opened
from fedsec.runs.checkpoint import load_checkpoint
from fedsec.runs.config import RunConfig
from fedsec.runs.record import RunFolder
from tests.data.folders import write_both
from tests.engine.conftest import Silent, config, record, run
from tests.engine.crews import LocalCrew

pytestmark = pytest.mark.usefixtures("crews")

STRATEGIES: dict[str, dict[str, Any]] = {
    "fedavg": {"weighting": "examples"},
    "krum": {"num_malicious": 3},
    "multi-krum": {"num_malicious": 3},
    "trimmed-mean": {"trim_ratio": 0.3},
    "norm-clip-noise": {"clip": 1.0, "noise": 0.001},
    "flame": {},
    "loss-forest": {"warmup_rounds": 0},
}

CASES: dict[str, dict[str, Any]] = {
    "untargeted": {"attack__kind": "untargeted"},
    "untargeted backdoor": {"attack__kind": "untargeted-backdoor"},
    "backdoor of any labels": {
        "attack__kind": "untargeted-backdoor",
        "attack__labels": "any",
        "attack__label_share": 0.5,
    },
    "backdoor of every class": {"attack__sources": "all", "attack__label_share": 0.3, "attack__trigger": "blend"},
    "attackers that share a trigger and hide": {"attack__trigger": "distributed", "attack__evasion": "penalty"},
    "nobody attacks": {"attack__kind": "none"},
    "an attack that starts late": {"attack__start_round": 2},
    "a client without examples": {"data__partition": "dirichlet", "data__alpha": 0.01, "run__seed": 3},
    "a fraction of the clients": {"federation__fraction": 0.5},
    "momentum": {"federation__momentum": 0.9, "federation__learning_rate": 0.02},
    "odd batches and several epochs": {"federation__batch_size": 13, "federation__local_epochs": 3},
    "one client": {
        "federation__clients": 1,
        "data__partition": "iid",
        "attack__share": 0.0,
        "defense__strategy": "fedavg",
    },
}


def sized(**changes: Any) -> RunConfig:
    quick = {"federation__rounds": 2, "federation__local_epochs": 1, "federation__batch_size": 32}
    return config(**quick | {"federation__cohort_size": 3} | changes)


def assert_same_record(configuration: RunConfig) -> RunFolder:
    (ours, folder, observer), (theirs, other, local) = (run(configuration, name) for name in ("cohort", "local"))
    assert ours["model_sha256"] == theirs["model_sha256"]
    assert record(folder) == record(other)
    for key in ("final", "detection", "dropped", "skipped", "config_hash"):
        assert ours[key] == theirs[key]
    assert (observer.notices, observer.rounds) == (local.notices, local.rounds)
    environments = folder.environment(), other.environment()
    for key in ("class_counts", "malicious", "partition", "options", "strategy", "notices"):
        assert environments[0][key] == environments[1][key]
    return folder


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_sees_the_same(name: str) -> None:
    given = {f"defense__{key}": value for key, value in STRATEGIES[name].items()}
    assert_same_record(sized(defense__strategy=name, **given))


@pytest.mark.parametrize("name", CASES)
def test_so_it_is_in_every_setting(name: str) -> None:
    assert_same_record(sized(**CASES[name]))


@pytest.mark.parametrize("size", [1, 10])
def test_the_size_of_a_cohort_changes_no_number(size: int) -> None:
    assert_same_record(sized(federation__cohort_size=size))


def test_a_size_that_is_measured_is_recorded(monkeypatch: pytest.MonkeyPatch, crews: list[LocalCrew]) -> None:
    monkeypatch.setattr(throughput, "_seconds", lambda client, size, batch, steps: 0.2 * size**0.5)
    folder = assert_same_record(sized(federation__cohort_size=0))
    [about] = folder.environment()["starts"]
    rates = {str(size): pytest.approx(2 * 32 * size**0.5 / 0.2, abs=0.1) for size in (1, 2, 5)}
    assert about["examples_per_second"] == rates
    assert (about["engine"], about["workers"], about["cohort_size"]) == ("cohort", 2, 5)
    cohorts = [cohort for call in crews[0].calls if call.method == "train" for cohort in call.arguments[0].cohorts]
    assert {len(cohort) for cohort in cohorts} == {5}


def test_runs_that_go_on_at_once_become_what_they_become_alone(runs: Path) -> None:
    configurations = [
        sized(run__seed=1),
        sized(run__seed=2, federation__rounds=3, defense__strategy="fedavg"),
        sized(run__seed=1, federation__learning_rate=0.05, attack__kind="untargeted", federation__cohort_size=2),
    ]
    jobs = [Job(configuration, RunFolder.create(configuration), Silent()) for configuration in configurations]
    with opened("cohort") as do:
        summaries = do(jobs)
        assert do(jobs) == summaries
    for job, summary in zip(jobs, summaries, strict=True):
        alone, folder, _ = run(job.config, "local")
        assert summary["model_sha256"] == alone["model_sha256"]
        assert record(job.folder) == record(folder)


def test_a_network_with_batchnorm_becomes_the_same_up_to_rounding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crews: list[LocalCrew]
) -> None:
    rng = np.random.default_rng(0)
    write_both(tmp_path / "small", rng.integers(0, 256, (24, 16, 16), np.uint8), np.arange(24) % 3)
    monkeypatch.setenv("FEDSEC_DATA", str(tmp_path))
    changes = {"federation__clients": 4, "federation__rounds": 2, "federation__batch_size": 4}
    configuration = sized(
        **changes, data__dataset="small", data__partition="iid", model__name="resnet18", attack__kind="none",
        attack__target=1, defense__strategy="fedavg", federation__learning_rate=0.001,
    )  # fmt: skip
    models = [load_checkpoint(run(configuration, name)[1].checkpoint) for name in ("cohort", "local")]
    ours, theirs = (checkpoint.arrays for checkpoint in models if checkpoint)
    for key, array in theirs.items():
        np.testing.assert_allclose(ours[key], array, atol=1e-4)
    for arrays in (ours, theirs):  # two rounds of two batches, counted in integers
        counters = {(str(a.dtype), int(a)) for key, a in arrays.items() if key.endswith("num_batches_tracked")}
        assert counters == {("int64", 4)}
    assert {len(cohort) for call in crews[0].calls for cohort in call.arguments[0].cohorts} == {2}
