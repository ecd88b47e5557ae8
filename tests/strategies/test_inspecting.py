"""What strategies do around an inspector: refuse to go without, hand on what it keeps, survive that it fails."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedsec.defenses.updates import OptionError, TooFewClientsError, Verdict
from fedsec.inspection_record import inspection_record
from fedsec.strategies import STRATEGIES, Gancrop, Gansweep, InspectingStrategy, RobustFedAvg
from fedsec.strategies.build import rehearse
from fedsec.strategies.inspecting import Findings, Inspected
from tests.strategies.toy import CLIENTS, FAULTS, ToyInspector, initial_arrays, toy_app, toy_round, trained

INSPECTING = [name for name, kind in STRATEGIES.items() if issubclass(kind, InspectingStrategy)]


class Careful(ToyInspector):
    """Writes down what it sees, and answers as it is told."""

    def __init__(self, weight: float = 1 / CLIENTS, error: Exception | None = None) -> None:
        super().__init__()
        self.weight, self.error = weight, error
        self.models: list[dict[str, Any]] = []

    def inspect(self, seen: Inspected, rng: np.random.Generator) -> Findings:
        if self.error is not None:
            raise self.error
        self.models = [seen.model_of(row) for row in range(len(seen.updates))]
        weights = np.full(len(seen.updates), self.weight)
        delta = (weights @ seen.updates.deltas).astype(np.float32)
        image = np.zeros((4, 8, 3), np.uint8)
        models = {"benign": seen.rebuild(delta, weights > 0)}
        return Findings(Verdict(delta, weights, weights), {"suspects": 0}, models, {"trigger": image})


def with_inspector(inspector: ToyInspector) -> Gancrop:
    strategy = Gancrop(seed=1)
    strategy.inspector = inspector
    return strategy


@pytest.mark.parametrize("name", INSPECTING)
def test_without_an_inspector_the_first_round_says_what_is_missing(name: str) -> None:
    with pytest.raises(OptionError, match=r"set its inspector before the first round\.") as raised:
        toy_round(STRATEGIES[name](), toy_app())
    assert raised.value.option == "strategy"


def test_an_inspector_sees_every_model_as_its_client_sent_it() -> None:
    inspector = Careful()
    toy_round(with_inspector(inspector), toy_app())
    for partition, model in enumerate(inspector.models):
        for key, array in trained(partition, initial_arrays()).items():
            np.testing.assert_allclose(model[key], array, rtol=1e-6)


def test_it_never_sees_a_reply_that_is_dropped() -> None:
    inspector = Careful()
    toy_round(with_inspector(inspector), toy_app(FAULTS["nan"][0]))
    assert len(inspector.models) == CLIENTS - 1
    assert all(np.isfinite(array).all() for model in inspector.models for array in model.values())


def test_weights_of_0_for_everybody_leave_the_statistics_of_batchnorm_too() -> None:
    arrays = toy_round(with_inspector(Careful(weight=0.0)), toy_app())
    assert arrays is not None
    for key, array in initial_arrays().items():
        assert np.array_equal(arrays[key], array)


def test_where_everybody_was_repaired_the_statistics_are_the_median_of_those_behind() -> None:
    class Repaired(Careful):
        def inspect(self, seen: Inspected, rng: np.random.Generator) -> Findings:
            found, clients = super().inspect(seen, rng), len(seen.updates)
            verdict = Verdict(found.verdict.delta, np.zeros(clients), np.zeros(clients))
            return replace(found, verdict=verdict, behind=np.arange(clients) < 3)

    arrays = toy_round(with_inspector(Repaired()), toy_app())
    assert arrays is not None
    statistics = [trained(partition, initial_arrays())["norm.running_var"] for partition in range(3)]
    np.testing.assert_allclose(arrays["norm.running_var"], np.median(statistics, axis=0), rtol=1e-6)


def test_with_too_few_clients_to_compare_the_round_is_skipped() -> None:
    strategy = with_inspector(Careful())
    strategy.fewest_clients = CLIENTS + 1  # type: ignore[misc]
    assert toy_round(strategy, toy_app()) is None
    assert strategy.outcome is not None
    assert strategy.outcome.skipped == (f"Gancrop needs at least {CLIENTS + 1} clients; got n={CLIENTS}.")


@pytest.mark.parametrize(("clients", "enough"), [(2, False), (3, True)])
def test_two_clients_are_too_few_for_gancrop_before_it_begins(clients: int, enough: bool) -> None:
    if enough:
        rehearse(Gancrop(), clients)
        return
    with pytest.raises(TooFewClientsError, match="needs at least 3 clients; got n=2"):
        rehearse(Gancrop(), clients)


def test_an_inspector_that_fails_skips_the_round_and_leaves_no_findings() -> None:
    inspector = Careful()
    strategy = with_inspector(inspector)
    toy_round(strategy, toy_app())
    assert strategy.findings is not None
    inspector.error = RuntimeError("no memory")
    assert toy_round(strategy, toy_app()) is None
    assert strategy.findings is None
    assert strategy.outcome is not None
    assert strategy.outcome.skipped == "Gancrop failed (RuntimeError: no memory)"


def test_its_state_is_the_strategy_s() -> None:
    strategy, other = with_inspector(ToyInspector()), with_inspector(ToyInspector())
    for _ in range(3):
        toy_round(strategy, toy_app())
    other.load_state(strategy.state())
    assert other.state()["rounds"].tolist() == [3]
    assert Gansweep().state() == {}
    Gansweep().load_state({})
    with pytest.raises(ValueError, match="keeps no state"):
        Gansweep().load_state({"rounds": np.zeros(1)})


def measured(server_round: int, arrays: Any) -> dict[str, Any]:
    return {"MA": 90.0, "BA": None, "loss": 0.1}


def test_the_record_has_the_report_the_accuracies_of_the_models_and_the_pictures(tmp_path: Any) -> None:
    strategy = with_inspector(Careful())
    toy_round(strategy, toy_app())
    record = inspection_record(strategy, 7, measured, tmp_path)
    assert record == {"suspects": 0, "models": {"benign": {"MA": 90.0, "BA": None}}}
    assert (tmp_path / "recovered" / "000007-trigger.png").exists()
    assert strategy.findings is not None
    half = np.zeros((4, 4), bool)
    half[:2] = True
    strategy.findings = replace(strategy.findings, masks={"trigger": np.ones((4, 4), np.float32)})
    assert inspection_record(strategy, 7, measured, tmp_path, half)["overlap"] == {"trigger": 0.5}
    assert "overlap" not in inspection_record(strategy, 7, measured, tmp_path)


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_kept_in_grey_and_in_colours(tmp_path: Any, channels: int) -> None:
    strategy = with_inspector(Careful())
    toy_round(strategy, toy_app())
    assert strategy.findings is not None
    strategy.findings = replace(strategy.findings, images={"trigger": np.full((4, 6, channels), 9, np.uint8)})
    inspection_record(strategy, 1, measured, tmp_path)
    with Image.open(tmp_path / "recovered" / "000001-trigger.png") as image:
        assert image.size == (6, 4)


def test_a_round_without_a_verdict_has_no_record_of_the_one_before(tmp_path: Any) -> None:
    strategy = with_inspector(Careful())
    toy_round(strategy, toy_app())
    toy_round(strategy, toy_app(FAULTS["nan"][0], range(CLIENTS)))
    assert inspection_record(strategy, 2, measured, tmp_path) == {}
    assert inspection_record(RobustFedAvg(), 2, measured, tmp_path) == {}
    assert list(tmp_path.iterdir()) == []
