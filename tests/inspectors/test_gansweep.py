"""GangSweep in a round: a backdoored average is swept, a clean one passes, and failures change nothing."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedsec.defenses.gansweep import SweepOptions
from fedsec.defenses.updates import OptionError
from fedsec.inspectors.gansweep import GansweepInspector
from fedsec.inspectors.public import PixelNetwork
from fedsec.strategies.gansweep import Gansweep
from fedsec.strategies.inspecting import Arrays, Findings
from tests.backdoored import TARGET, measured, public, trained
from tests.inspectors.rounds import arrays_of, round_of

OPTIONS = SweepOptions(steps=300, epochs=3)  # a third of them finds the trigger on some processors and not on others
QUICK = replace(OPTIONS, steps=3, epochs=1)


def inspected(inspector: GansweepInspector, *models: Arrays) -> Findings:
    return inspector.inspect(round_of(list(models)), np.random.default_rng(0))


def swept_network(findings: Findings) -> PixelNetwork:
    return public().load(findings.models["swept"]).eval()


def test_backdoor_of_the_average_is_swept() -> None:
    findings = inspected(GansweepInspector(public(), OPTIONS), arrays_of(True), arrays_of(True))
    assert [one["flagged"] for one in findings.report["swept"]] == [[TARGET]]
    accuracy, success = measured(swept_network(findings))
    assert success < 20.0
    assert accuracy > measured(trained(True))[0] - 5.0
    np.testing.assert_array_equal(findings.verdict.weights, [0.5, 0.5])
    assert findings.images["perturbation"].shape == (28, 28, 1)
    assert findings.images["perturbation"].dtype == np.uint8
    assert json.loads(json.dumps(findings.report)) == findings.report


def test_each_client_is_swept_by_itself() -> None:
    findings = inspected(GansweepInspector(public(), OPTIONS, models="each"), arrays_of(False), arrays_of(True))
    assert [one["flagged"] for one in findings.report["swept"]] == [[], [TARGET]]
    assert findings.verdict.scores[1] > 2.0 > findings.verdict.scores[0]
    np.testing.assert_array_equal(findings.verdict.weights, [0.5, 0.5])


def test_average_without_a_flagged_class_passes_unchanged() -> None:
    findings = inspected(GansweepInspector(public(), OPTIONS), arrays_of(False))
    (report,) = findings.report["swept"]
    assert report["flagged"] == []
    assert report["converged"]
    np.testing.assert_array_equal(findings.verdict.delta, round_of([arrays_of(False)]).updates.deltas[0])


def test_generators_that_do_not_converge_are_reported_and_change_nothing() -> None:
    findings = inspected(GansweepInspector(public(), QUICK), arrays_of(True))
    assert not findings.report["swept"][0]["converged"]
    assert findings.images == {}
    np.testing.assert_array_equal(findings.verdict.delta, round_of([arrays_of(True)]).updates.deltas[0])


def test_sweeping_that_diverges_is_reported_and_changes_nothing() -> None:
    inspector = GansweepInspector(public(), replace(OPTIONS, learning_rate=1e30, epochs=1))
    findings = inspected(inspector, arrays_of(True))
    assert findings.report["swept"][0]["flagged"] == [TARGET]
    assert not findings.report["swept"][0]["converged"]
    np.testing.assert_array_equal(findings.verdict.delta, round_of([arrays_of(True)]).updates.deltas[0])


@pytest.mark.parametrize("what", ["one class", "nan"])
def test_model_that_is_no_use_passes_unchanged(what: str) -> None:
    arrays = arrays_of(True)
    bias = torch.zeros(10).numpy()
    bias[3] = 1e6 if what == "one class" else np.nan
    findings = inspected(GansweepInspector(public(), QUICK), {**arrays, "fc3.bias": bias})
    assert findings.report["swept"][0]["flagged"] == []
    assert not findings.report["swept"][0]["converged"]
    assert json.loads(json.dumps(findings.report, allow_nan=False)) == findings.report


def test_same_draws_give_the_same_answer() -> None:
    inspector = GansweepInspector(public(), replace(QUICK, floor=0.0, threshold=0.0))
    first, second = (inspected(inspector, arrays_of(True)) for _ in range(2))
    assert first.report["swept"][0]["flagged"]
    np.testing.assert_array_equal(first.verdict.delta, second.verdict.delta)


def test_it_keeps_no_state() -> None:
    inspector = GansweepInspector(public())
    inspector.load_state(inspector.state())
    with pytest.raises(ValueError, match="GangSweep keeps no state"):
        inspector.load_state({"seed": np.zeros(1)})


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(OptionError, match="models must be"):
        GansweepInspector(public(), models="some")  # type: ignore[arg-type]
    for option, value in (
        ("models", "some"),
        ("recovery_steps", 0),
        ("unlearning_epochs", 0),
        ("unlearning_rate", 0.0),
        ("unlearning_rate", float("nan")),
    ):
        with pytest.raises(OptionError, match=f"{option} must be") as raised:
            Gansweep(**{option: value})  # type: ignore[arg-type]
        assert raised.value.option == option
