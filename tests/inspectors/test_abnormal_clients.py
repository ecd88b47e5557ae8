"""Abnormal clients in rounds: who is unlike the benign has no weight, and a resumed server goes on as it would have."""

import json
from typing import Any

import numpy as np
import pytest

from fedsec.defenses.updates import Matrix, OptionError, RoundUpdates
from fedsec.inspectors.abnormal_clients import AbnormalClientsInspector
from fedsec.inspectors.shadows import ShadowMaker
from fedsec.strategies.abnormal_clients import AbnormalClients
from fedsec.strategies.inspecting import Arrays, Findings, Inspected
from fedsec.strategies.layout import Layout
from fedsec.training.classifier import TrainingSettings
from tests.backdoored import public
from tests.inspectors.rounds import arrays_of, moved
from tests.inspectors.rounds import round_of as lenets

D = 300
BASE = np.random.default_rng(0).normal(size=(3, D))
SENT: Arrays = {"weight": np.zeros(D, np.float32)}


def benign(sent: Arrays, rng: np.random.Generator, number: int) -> Matrix:
    """Return updates that differ in three directions."""
    made: Matrix = (rng.normal(size=(number, 3)) @ BASE).astype(np.float32)
    return made


def broken(sent: Arrays, rng: np.random.Generator, number: int) -> Matrix:
    return np.full((number, D), np.nan, np.float32)


def round_of(seed: int, outlier: int = 2) -> Inspected:
    """Return a round of eight clients, one of which is unlike the others."""
    rng = np.random.default_rng(seed)
    deltas = benign(SENT, rng, 8)
    deltas[outlier] = 4 * rng.normal(size=D)
    layout = Layout(SENT)
    updates = RoundUpdates(np.arange(10, 18, dtype=np.uint64), deltas, np.ones(8, np.int64))
    return Inspected(updates, layout, np.empty((8, 0)))


def inspected(inspector: AbnormalClientsInspector, seed: int) -> Findings:
    return inspector.inspect(round_of(seed), np.random.default_rng(seed))


def test_outlier_gets_no_weight() -> None:
    findings = inspected(AbnormalClientsInspector(benign), 1)
    assert findings.verdict.weights[2] == 0.0
    assert findings.verdict.scores.argmax() == 2
    assert findings.verdict.weights.sum() == pytest.approx(1.0)
    assert 12 in findings.report["rejected"]
    assert json.loads(json.dumps(findings.report)) == findings.report


def test_autoencoder_is_trained_in_the_first_round_and_when_it_is_old() -> None:
    inspector = AbnormalClientsInspector(benign, refresh=3)
    assert [inspected(inspector, seed).report["trained"] for seed in range(7)] == [True, False, False] * 2 + [True]


@pytest.mark.parametrize("rounds", [0, 1, 3, 4])
def test_resumed_inspector_goes_on_as_it_would_have(rounds: int) -> None:
    one, other = (AbnormalClientsInspector(benign, refresh=3) for _ in range(2))
    for seed in range(rounds):
        inspected(one, seed)
    other.load_state({name: array.copy() for name, array in one.state().items()})
    for seed in range(rounds, rounds + 4):
        first, second = inspected(one, seed), inspected(other, seed)
        np.testing.assert_array_equal(first.verdict.delta, second.verdict.delta)
        np.testing.assert_array_equal(first.verdict.scores, second.verdict.scores)
        assert first.report["trained"] == second.report["trained"]


def test_where_no_autoencoder_converges_the_model_stays_and_the_next_round_tries_again() -> None:
    inspector = AbnormalClientsInspector(broken)
    for seed in range(2):
        findings = inspected(inspector, seed)
        assert findings.report["trained"]
        assert not findings.report["converged"]
        assert not findings.verdict.delta.any()
        assert json.loads(json.dumps(findings.report, allow_nan=False)) == findings.report
    assert inspector.state() == {}


@pytest.mark.parametrize("rate", [1e30, 1e5])
def test_where_the_server_s_own_models_diverge_nobody_is_let_in(rate: float) -> None:
    maker = ShadowMaker(public(), TrainingSettings(1, 16, rate))
    findings = AbnormalClientsInspector(maker.make_clean, shadows=4).inspect(
        lenets([moved(arrays_of(False), seed) for seed in range(4)]), np.random.default_rng(0)
    )
    assert not findings.report["converged"]
    assert not findings.verdict.delta.any()


@pytest.mark.parametrize("number", [0, 1, 4])
def test_nothing_is_learned_from_too_few_benign_updates_or_from_equal_ones(number: int) -> None:
    def alike(sent: Arrays, rng: np.random.Generator, wanted: int) -> Matrix:
        return np.ones((number, D), np.float32)

    findings = inspected(AbnormalClientsInspector(alike), 0)
    assert not findings.report["converged"]
    assert not findings.verdict.weights.any()


def test_state_of_another_kind_is_refused() -> None:
    inspector = AbnormalClientsInspector(benign)
    inspected(inspector, 0)
    with pytest.raises(ValueError, match="AbnormalClients keeps"):
        inspector.load_state({"seed": np.zeros(1)})
    with pytest.raises(ValueError, match="must have shape"):
        AbnormalClientsInspector(benign, size=16).load_state(inspector.state())


@pytest.mark.parametrize(
    ("option", "value"),
    [("shadows", 1), ("refresh", 0), ("size", 0), ("credit", -1.0), ("credit", float("nan")), ("threshold", "median")],
)
def test_option_that_makes_no_sense_is_refused(option: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"{option} must be"):
        AbnormalClientsInspector(benign, **{option: value})
    named = "surrogate_size" if option == "size" else option
    with pytest.raises(OptionError, match=f"{named} must be") as raised:
        AbnormalClients(**{named: value})
    assert raised.value.option == named
