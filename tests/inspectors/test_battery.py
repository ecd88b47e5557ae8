"""What every inspector must do: one row for each strategy that looks into models, and each row through every test."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fedsec.defenses.gancrop.detector import DetectorOptions
from fedsec.defenses.gancrop.recovery import RecoveryOptions
from fedsec.defenses.gancrop.unlearning import UnlearningOptions
from fedsec.defenses.gansweep import SweepOptions
from fedsec.inspectors.abnormal_clients import AbnormalClientsInspector
from fedsec.inspectors.gancrop import GancropInspector, GancropOptions
from fedsec.inspectors.gansweep import GansweepInspector
from fedsec.inspectors.join import inspector_for
from fedsec.inspectors.search import REFINED
from fedsec.inspectors.shadows import ShadowMaker
from fedsec.inspectors.watch import WatchOptions
from fedsec.models.drawing import drawn_from
from fedsec.strategies import STRATEGIES, Gancrop, InspectingStrategy
from fedsec.strategies.inspecting import Arrays, Findings, Inspected, Inspector
from fedsec.tensors import read_tensors, write_tensors
from fedsec.training.classifier import TrainingSettings
from fedsec.training.parameters import get_arrays
from tests.backdoored import TARGET, public
from tests.inspectors.rounds import arrays_of, moved, round_of
from tests.inspectors.scripted import PLANTED, scripted
from tests.inspectors.told import Told, told

SETTINGS = TrainingSettings(epochs=1, batch_size=16, learning_rate=0.05)
GANCROP = GancropOptions(
    WatchOptions(20, 4, DetectorOptions(steps=20)),
    RecoveryOptions(steps=4, batch_size=4),
    UnlearningOptions(epochs=1),
    repair="each",
)
BAD = [3, 4]
"""Rows of the clients with a backdoor in :func:`seen_by_all`."""


def knowing() -> Inspector:
    """Return GANcrop as it is once it has found the trigger: it searches no more, and repairs whom it is told."""
    inspector = told(BAD, replace(GANCROP, unlearning=UnlearningOptions(epochs=4), repair="average"))
    inspector.search.known, inspector.search.supported, inspector.search.narrow = PLANTED, True, REFINED
    return inspector


def abnormal_clients() -> Inspector:
    return AbnormalClientsInspector(ShadowMaker(public(), SETTINGS).make_clean, shadows=6, refresh=2)


INSPECTORS: dict[str, Callable[[], Inspector]] = {
    "gancrop": lambda: GancropInspector(public(), SETTINGS, GANCROP),
    "gancrop that repairs": knowing,
    "gansweep": lambda: GansweepInspector(public(), SweepOptions(steps=3, epochs=1), models="each"),
    "abnormal-clients": abnormal_clients,
}
every_inspector = pytest.mark.parametrize("name", INSPECTORS)


def seen_by_all(seed: int = 0, spoilt: Arrays | None = None) -> Inspected:
    """Return a round of three honest clients and two with a backdoor, one of which may be spoilt otherwise.

    An untrained model was sent: by a trained one, honest updates would be short, and one with a backdoor drowned.
    """
    bad = [moved(arrays_of(True), seed + 8), spoilt or moved(arrays_of(True), seed + 9)]
    return round_of([*(moved(arrays_of(False), seed + client) for client in range(3)), *bad])


def inspected(inspector: Inspector, seen: Inspected, seed: int = 0) -> Findings:
    return inspector.inspect(seen, np.random.default_rng(seed))


def check(findings: Findings, seen: Inspected) -> None:
    """Hold findings against the docstrings of ``Findings`` and ``Verdict``."""
    n, d = seen.updates.deltas.shape
    verdict = findings.verdict
    assert (verdict.delta.shape, verdict.delta.dtype) == ((d,), np.float32)
    for part in (verdict.weights, verdict.scores):
        assert (part.shape, part.dtype) == ((n,), np.float64)
    assert np.isfinite(verdict.delta).all()
    assert (verdict.weights >= 0.0).all()
    assert verdict.weights.sum() <= 1.0 + 1e-9
    json.dumps(findings.report)
    for model in findings.models.values():
        assert {k: (a.shape, a.dtype) for k, a in model.items()} == {
            k: (a.shape, a.dtype) for k, a in seen.layout.sent.items()
        }
    for image in findings.images.values():
        assert (image.ndim, image.dtype) == (3, np.uint8)


def same(one: Findings, other: Findings) -> bool:
    pairs = [(getattr(one.verdict, part), getattr(other.verdict, part)) for part in ("delta", "weights", "scores")]
    pairs += [(array, other.models[name][key]) for name, model in one.models.items() for key, array in model.items()]
    pairs += [(image, other.images[name]) for name, image in one.images.items()]
    return all(np.array_equal(first, second) for first, second in pairs)


def test_every_strategy_that_looks_into_models_has_a_row() -> None:
    assert {name for name, kind in STRATEGIES.items() if issubclass(kind, InspectingStrategy)} == {
        name.partition(" ")[0] for name in INSPECTORS
    }


def test_a_row_repairs() -> None:
    found = inspected(INSPECTORS["gancrop that repairs"](), seen_by_all())
    assert [(repair["target"], repair["outcome"]) for repair in found.report["repairs"]] == [(TARGET, "repaired")]
    assert list(found.models) == ["benign", "repaired"]


@every_inspector
def test_findings_are_what_their_docstring_says_and_the_updates_stay(name: str) -> None:
    seen = seen_by_all()
    before, sent = seen.updates.deltas.copy(), {key: array.copy() for key, array in seen.layout.sent.items()}
    check(inspected(INSPECTORS[name](), seen), seen)
    assert np.array_equal(seen.updates.deltas, before)
    assert all(np.array_equal(array, sent[key]) for key, array in seen.layout.sent.items())


@every_inspector
def test_one_client_is_enough(name: str) -> None:
    seen = round_of([moved(arrays_of(False), 0)], arrays_of(False))
    check(inspected(INSPECTORS[name](), seen), seen)


@every_inspector
def test_clients_that_all_send_what_they_were_sent_leave_the_model(name: str) -> None:
    sent = arrays_of(False)
    findings = inspected(INSPECTORS[name](), round_of([sent] * 4, sent))
    assert not findings.verdict.delta.any()


@every_inspector
@pytest.mark.parametrize("value", [1e6, 1e25], ids=["one class for everything", "infinity inside"])
def test_a_model_that_is_no_use_stops_nothing(name: str, value: float) -> None:
    bias = np.zeros(10, np.float32)
    bias[3] = value
    weight = np.full((10, 84), value, np.float32)
    seen = seen_by_all(spoilt={**arrays_of(True), "fc3.bias": bias, "fc3.weight": weight})
    check(inspected(INSPECTORS[name](), seen), seen)


@every_inspector
def test_the_same_rounds_and_draws_give_the_same_findings(name: str) -> None:
    one, other = INSPECTORS[name](), INSPECTORS[name]()
    for seed in range(2):
        assert same(inspected(one, seen_by_all(seed), seed), inspected(other, seen_by_all(seed), seed))


@every_inspector
@pytest.mark.parametrize("rounds", [0, 1, 2])
def test_one_that_was_killed_between_rounds_goes_on_as_it_would_have(name: str, rounds: int, tmp_path: Path) -> None:
    one, other = INSPECTORS[name](), INSPECTORS[name]()
    for seed in range(rounds):
        inspected(one, seen_by_all(seed), seed)
    write_tensors(tmp_path / "state", one.state(), {})
    other.load_state(read_tensors(tmp_path / "state")[0])
    for seed in range(rounds, rounds + 2):
        assert same(inspected(one, seen_by_all(seed), seed), inspected(other, seen_by_all(seed), seed))


class WithBatchNorm(nn.Module):
    """A small network with BatchNorm, whose statistics lie apart from what a defense sees."""

    def __init__(self) -> None:
        super().__init__()
        with drawn_from(0):
            self.conv, self.norm, self.dense = nn.Conv2d(1, 4, 5, 2), nn.BatchNorm2d(4), nn.Linear(4 * 144, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.dense(torch.relu(self.norm(self.conv(images))).flatten(1)))


def statistics(seed: int) -> Arrays:
    """Return what a client's data make of the statistics, far from where they began."""
    return {"norm.running_mean": np.full(4, 1.0 + seed, np.float32), "norm.running_var": np.full(4, 2.0, np.float32)}


@pytest.mark.parametrize("options", [{"shadows": 20, "false_alarms": 0.99, "recovery_steps": 3}, {"repair": "none"}])
def test_statistics_of_batchnorm_are_no_part_of_a_verdict_and_part_of_every_model(options: dict[str, Any]) -> None:
    network, kind = WithBatchNorm(), Gancrop(**{"shadows": 20, **options})
    sent = get_arrays(network)
    seen = round_of([{**moved(sent, seed), **statistics(seed)} for seed in range(5)], sent)
    inspector = inspector_for(kind, replace(public(), network=network), SETTINGS)
    for seed in range(2):
        findings = inspected(inspector, seen, seed)
        check(findings, seen)
    assert findings.verdict.delta.size == sum(sent[name].size for name in seen.layout.row)
    assert "norm.running_mean" not in seen.layout.row
    assert findings.models
    among = {float(seen.model_of(row)["norm.running_mean"][0]) for row in range(5)}
    for model in findings.models.values():  # one of them, or half way between two; never that of the model sent, 0
        assert min(among) <= float(model["norm.running_mean"][0]) <= max(among)


def test_a_repaired_model_has_the_statistics_of_those_whose_average_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, PLANTED)
    # The network is not trained, so that no repair of it would be used.
    monkeypatch.setattr("fedsec.inspectors.judge.Judge.hopeless", lambda *judged: None)
    monkeypatch.setattr("fedsec.inspectors.repair.outcome_of", lambda *measured: "repaired")
    network = WithBatchNorm()
    sent = get_arrays(network)
    own = replace(public(), network=network)
    seen = round_of([{**moved(sent, seed), **statistics(seed)} for seed in range(5)], sent)
    inspector = GancropInspector(own, SETTINGS, GANCROP)
    inspector.watch = Told(inspector.watch, BAD)
    findings = inspected(inspector, seen)
    check(findings, seen)
    for name, rows in (("benign", (0, 1, 2)), ("repaired", BAD)):
        wanted = np.median([statistics(row)["norm.running_mean"][0] for row in rows])
        np.testing.assert_allclose(findings.models[name]["norm.running_mean"], wanted)
