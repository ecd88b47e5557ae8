"""GangSweep in a round: a backdoored average is swept, a clean one passes, and failures change nothing."""

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fedsec.defenses.gansweep import SweepOptions
from fedsec.defenses.updates import OptionError, RoundUpdates
from fedsec.inspectors.gansweep import GansweepInspector, averaged_model
from fedsec.inspectors.public import PixelNetwork
from fedsec.strategies.gansweep import Gansweep
from fedsec.strategies.inspecting import Arrays, Findings, Inspected
from fedsec.strategies.layout import Layout
from fedsec.training.parameters import get_arrays
from tests.backdoored import TARGET, measured, network, public, trained

OPTIONS = SweepOptions(steps=300, epochs=3)  # a third of them finds the trigger on some processors and not on others
QUICK = replace(OPTIONS, steps=3, epochs=1)


def round_of(models: Sequence[Arrays]) -> Inspected:
    """Return a round in which the untrained network was sent, and these models came back."""
    layout = Layout(get_arrays(network()))
    deltas, side = np.empty((len(models), layout.width), np.float32), np.empty(layout.side_width)
    for row, model in zip(deltas, models, strict=True):
        layout.write(model, row, side)
    updates = RoundUpdates(np.arange(len(models), dtype=np.uint64), deltas, np.ones(len(models), np.int64))

    def rebuild(delta: NDArray[np.float32]) -> Arrays:
        return layout.rebuild(delta, side)

    return Inspected(updates, layout, lambda row: rebuild(deltas[row]), rebuild)


def arrays_of(backdoor: bool) -> Arrays:
    return get_arrays(trained(backdoor).network)


def inspected(inspector: GansweepInspector, *models: Arrays) -> Findings:
    return inspector.inspect(round_of(models), np.random.default_rng(0))


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


def test_averaged_model_has_the_median_of_batchnorms_statistics_by_hand() -> None:
    sent: Arrays = {"weight": np.zeros(2, np.float32), "norm.running_mean": np.ones(1, np.float32)}
    models: list[Arrays] = [{**sent, "norm.running_mean": np.array([mean], np.float32)} for mean in (1.0, 2.0, 9.0)]
    layout = Layout(sent)
    updates = RoundUpdates(np.arange(3, dtype=np.uint64), np.zeros((3, 2), np.float32), np.ones(3, np.int64))
    seen = Inspected(updates, layout, models.__getitem__, lambda delta: layout.rebuild(delta, np.zeros(1)))
    averaged = averaged_model(seen, np.array([3.0, 4.0], np.float32))
    np.testing.assert_array_equal(averaged["weight"], [3.0, 4.0])
    np.testing.assert_array_equal(averaged["norm.running_mean"], [2.0])


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
