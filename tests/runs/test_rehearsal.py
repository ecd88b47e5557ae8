"""A strategy is tried on made-up updates before a run: options that give no model, or need too much memory, show."""

import tracemalloc
from typing import Any

import pytest

from fedsec.defenses.updates import OptionError
from fedsec.strategies import STRATEGIES
from fedsec.strategies.build import MATRICES, TooManyClientsError, build_strategy, rehearse

OPTIONS: dict[str, dict[str, Any]] = {
    "krum": {"num_malicious": 2},
    "multi-krum": {"num_malicious": 2},
    "trimmed-mean": {"trim_ratio": 0.2, "trim": "updates"},
    "norm-clip-noise": {"clip": 1.0, "noise": 0.0},
}


@pytest.mark.parametrize("noise", [1e300, 1e40, 1e30])
@pytest.mark.parametrize("name", ["norm-clip-noise", "flame"])
def test_noise_that_leaves_no_model_is_refused(name: str, noise: float) -> None:
    strategy = build_strategy(name, {"clip": 1.0, "noise": noise, "noise_scale": "absolute"})
    with pytest.raises(OptionError, match="expected less noise on the model") as refusal:
        rehearse(strategy, 10)
    assert refusal.value.option == "noise"


def test_a_clip_that_the_noise_is_a_multiple_of_is_the_option_to_change() -> None:
    with pytest.raises(OptionError, match="expected less noise on the model") as refusal:
        rehearse(build_strategy("flame", {"clip": 1e300}), 10)
    assert refusal.value.option == "clip"


def test_a_verdict_that_is_not_finite_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = build_strategy("fedavg", {})
    judge = strategy.defend

    def broken(*arguments: Any) -> Any:
        verdict = judge(*arguments)
        verdict.scores[0] = float("nan")
        return verdict

    monkeypatch.setattr(strategy, "defend", broken)
    with pytest.raises(OptionError) as refusal:
        rehearse(strategy, 10)
    assert refusal.value.option == "strategy"


@pytest.mark.parametrize("name", STRATEGIES)
def test_strategies_that_compare_every_two_clients_are_known(name: str) -> None:
    clients = 300
    strategy = build_strategy(name, OPTIONS.get(name, {}))
    rehearse(strategy, clients)
    tracemalloc.start()
    try:
        rehearse(strategy, clients)
        matrices = tracemalloc.get_traced_memory()[1] / (8 * clients**2)
    finally:
        tracemalloc.stop()
    assert matrices == pytest.approx(MATRICES.get(type(strategy), 0), abs=0.5)


@pytest.mark.parametrize("name", ["krum", "multi-krum", "trimmed-mean", "flame"])
def test_more_clients_than_memory_can_compare_are_refused_before_it_is_taken(name: str) -> None:
    strategy = build_strategy(name, OPTIONS.get(name, {}))
    tracemalloc.start()
    try:
        with pytest.raises(TooManyClientsError, match=r"expected at most \d+ clients in a round"):
            rehearse(strategy, 1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_memory_that_runs_out_all_the_same_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> Any:
        raise MemoryError("Unable to allocate 74.5 GiB")

    strategy = build_strategy("flame", {})
    monkeypatch.setattr(strategy, "defend", full)
    with pytest.raises(TooManyClientsError, match=r"not enough memory .* \(Unable to allocate 74\.5 GiB\)"):
        rehearse(strategy, 10)
