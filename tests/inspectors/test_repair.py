"""Repair of a suspect: a backdoor goes, and whatever cannot be repaired is left out, with the reason."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fedsec.defenses.gancrop.recovery import Recovery, RecoveryOptions
from fedsec.defenses.gancrop.trigger import RecoveredTrigger
from fedsec.defenses.gancrop.unlearning import UnlearningOptions
from fedsec.inspectors.repair import NARROW, REFINED, Repaired, Repairer
from fedsec.strategies.inspecting import Arrays
from tests.backdoored import TARGET, TRIGGER, measured, public, trained
from tests.inspectors.rounds import arrays_of

RECOVERY = RecoveryOptions(steps=300, batch_size=8)
QUICK = RecoveryOptions(steps=3, batch_size=4)
UNLEARNING = UnlearningOptions(epochs=4)


def repairer(recovery: RecoveryOptions = QUICK, unlearning: UnlearningOptions = UNLEARNING) -> Repairer:
    return Repairer(public(), recovery, unlearning, warm_steps=20)


def repaired(one: Repairer, suspect: Arrays, seed: int = 0, trusted: Arrays | None = None) -> Repaired:
    draws = torch.Generator().manual_seed(seed)
    found = one.find(suspect, trusted or arrays_of(False), draws)
    return one.repair(suspect, found, draws)


def spoilt(value: float, name: str = "fc3.bias") -> Arrays:
    """Return a model that answers one class for everything, or NaN."""
    bias = np.zeros(10, np.float32)
    bias[3] = value
    return {**arrays_of(True), name: bias}


@pytest.mark.parametrize("compiled", [True, False])
def test_a_backdoor_is_recovered_and_unlearned(compiled: bool) -> None:
    one = repairer(RECOVERY)
    if not compiled:
        object.__setattr__(one.public, "chain", None)
    result = repaired(one, arrays_of(True))
    assert result.report["target"] == TARGET
    assert result.report["outcome"] == "repaired"
    assert result.report["success_after"] < 30.0
    assert result.arrays is not None
    accuracy, success = measured(public().load(result.arrays).eval())
    assert success < 20.0
    assert accuracy > measured(trained(True))[0] - 5.0
    assert one.known is not None
    assert one.known.target == TARGET


@pytest.mark.parametrize(
    ("value", "reason"), [(1e6, "it takes every public image for class 3"), (np.nan, "it gives NaN or infinity")]
)
def test_a_model_that_is_no_use_is_left_out_and_nothing_is_learned_from_it(value: float, reason: str) -> None:
    one = repairer()
    result = repaired(one, spoilt(value))
    assert result.arrays is None
    assert result.report["outcome"].startswith(f"left out: {reason}")
    assert one.maker is None
    assert one.known is None
    assert one.state() == {}


@pytest.mark.parametrize("number", [10, 13, 20])
def test_with_few_public_images_a_good_model_is_not_taken_for_one_of_no_use(number: int) -> None:
    own = public()
    every = [np.flatnonzero(own.labels == label) for label in range(10)]
    few = np.array([every[place % 10][place // 10] for place in range(number)])
    one = Repairer(replace(own, images=own.images[few], labels=own.labels[few]), QUICK, UNLEARNING, warm_steps=2)
    result = repaired(one, arrays_of(True))
    assert "it takes every public image" not in result.report["outcome"]
    assert result.report["accuracy_before"] > 80.0


def test_a_recovery_that_does_not_converge_leaves_the_model_out_and_the_next_one_starts_anew() -> None:
    one = repairer(replace(QUICK, learning_rate=1e38))
    result = repaired(one, arrays_of(True))
    assert result.arrays is None
    assert result.report["outcome"] == "left out: the recovery did not converge"
    assert one.maker is None
    one.recovery = QUICK
    assert repaired(one, arrays_of(True)).report["steps"] == QUICK.steps


def test_an_unlearning_that_diverges_leaves_the_model_out() -> None:
    result = repaired(repairer(RECOVERY, UnlearningOptions(learning_rate=1e30)), arrays_of(True))
    assert result.arrays is None
    assert result.report["outcome"] == "left out: the unlearning did not converge"


def test_an_unlearning_that_costs_accuracy_leaves_the_model_out() -> None:
    result = repaired(repairer(RECOVERY, UnlearningOptions(epochs=1, learning_rate=3.0)), arrays_of(True))
    assert result.arrays is None
    assert result.report["outcome"].startswith("left out: the unlearning")


def test_a_model_in_which_no_trigger_stands_out_is_left_out() -> None:
    result = repaired(repairer(RECOVERY), arrays_of(False), trusted=arrays_of(False))
    assert result.report["target"] is None
    assert result.arrays is None
    assert result.report["outcome"] == "left out: no trigger stands out"


def test_the_suspect_and_the_trusted_model_stay_as_they_were() -> None:
    suspect, trusted = arrays_of(True), arrays_of(False)
    before = {name: array.copy() for name, array in suspect.items()}
    state = {name: array.copy() for name, array in trusted.items()}
    repaired(repairer(), suspect, trusted=trusted)
    assert all(np.array_equal(array, before[name]) for name, array in suspect.items())
    assert all(np.array_equal(array, state[name]) for name, array in trusted.items())


def same(one: Repaired, other: Repaired) -> bool:
    if one.arrays is None or other.arrays is None:
        return one.arrays is other.arrays and one.report == other.report
    return one.report == other.report and all(np.array_equal(a, other.arrays[name]) for name, a in one.arrays.items())


@pytest.mark.parametrize("found", [False, True], ids=["nothing found", "a trigger found"])
def test_state_brings_back_what_the_next_repair_goes_on_from(found: bool) -> None:
    one, other = repairer(RECOVERY if found else QUICK), repairer(RECOVERY if found else QUICK)
    repaired(one, arrays_of(True))
    state: dict[str, Any] = {name: array.copy() for name, array in one.state().items()}
    other.load_state(state)
    assert (one.known is not None) == (other.known is not None) == bool(state) == found
    first, second = (repaired(which, arrays_of(True), seed=1) for which in (one, other))
    assert first.report["steps"] == (20 if found else QUICK.steps)
    assert same(first, second)
    other.load_state({})
    assert other.state() == {}


def test_where_the_same_class_stands_out_again_no_other_is_tried_but_for_every_tenth_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planted = RecoveredTrigger(TARGET, TRIGGER.mask.astype(np.float32), TRIGGER.pattern, 99.0, 5.0)
    natural = tuple(replace(planted, target=label, success=10.0) for label in range(10) if label != TARGET)

    def scripted(network: Any, images: Any, labels: Any, maker: Any, options: RecoveryOptions, *rest: Any) -> Recovery:
        triggers = (planted, *natural) if rest[-1] is None else (planted,)
        return Recovery(triggers, np.zeros(len(triggers)), TARGET)

    monkeypatch.setattr("fedsec.inspectors.repair.recover", scripted)
    one = repairer(RECOVERY)
    reports = [one.find(arrays_of(True), arrays_of(False), torch.Generator()).report for _ in range(NARROW + 3)]
    assert {report["target"] for report in reports} == {TARGET}
    assert [report["tried"] for report in reports] == [10, *[1] * NARROW, 10, 1]
    # Nothing is searched while a refined trigger works as wanted; afterwards all classes are, from where they were.
    assert [r["steps"] for r in reports] == [300, *[20] * REFINED, *[0] * (NARROW - REFINED), 20, 20]


def test_the_class_that_stood_out_stands_out_again_in_a_few_steps() -> None:
    one, draws = repairer(RECOVERY), torch.Generator().manual_seed(0)
    reports = [one.find(arrays_of(True), arrays_of(False), draws).report for _ in range(REFINED + 1)]
    assert [(report["target"], report["tried"]) for report in reports] == [(TARGET, 10), *[(TARGET, 1)] * REFINED]
    assert [report["steps"] for report in reports] == [RECOVERY.steps, *[20] * REFINED]


def test_a_refined_trigger_that_works_too_seldom_is_refined_again() -> None:
    one = Repairer(public(), RECOVERY, UNLEARNING, warm_steps=20)
    draws = torch.Generator().manual_seed(0)
    one.find(arrays_of(True), arrays_of(False), draws)
    for wanted, steps in ((0.5, 0), (1.01, 20)):
        one.narrow, one.recovery = REFINED, replace(RECOVERY, wanted=wanted)
        assert one.find(arrays_of(True), arrays_of(False), draws).report["steps"] == steps
        assert one.narrow == REFINED + 1


def test_a_model_without_the_known_trigger_has_all_classes_tried_and_the_trigger_is_forgotten() -> None:
    one = Repairer(public(), RECOVERY, UNLEARNING, warm_steps=20)
    draws = torch.Generator().manual_seed(0)
    one.find(arrays_of(True), arrays_of(False), draws)
    assert one.known is not None
    found = one.find(arrays_of(False), arrays_of(False), draws)
    assert (found.report["target"], found.report["tried"]) == (None, 10)
    assert one.known is None
    assert one.maker is None


@pytest.mark.parametrize("again", [QUICK, replace(QUICK, learning_rate=1e38)], ids=["fails", "diverges"])
def test_where_a_search_finds_nothing_the_known_trigger_is_tried_as_it_is(again: RecoveryOptions) -> None:
    one = repairer(RECOVERY)
    draws = torch.Generator().manual_seed(0)
    one.find(arrays_of(True), arrays_of(False), draws)
    known, one.maker, one.narrow, one.recovery = one.known, None, NARROW, again
    assert known is not None
    found = one.find(arrays_of(True), arrays_of(False), draws)
    assert found.report["target"] == TARGET
    assert found.report["success"] == pytest.approx(known.success, abs=2.0)
    assert found.report["success_on_trusted"] < 30.0
    assert one.known is not None
    assert np.array_equal(one.known.mask, known.mask)
    assert one.repair(arrays_of(True), found, draws).report["outcome"] == "repaired"


def test_a_known_trigger_that_works_on_the_trusted_model_as_well_is_no_backdoor_any_more() -> None:
    one = repairer(RECOVERY)
    draws = torch.Generator().manual_seed(0)
    one.find(arrays_of(True), arrays_of(False), draws)
    one.maker, one.narrow, one.recovery = None, NARROW, QUICK
    found = one.find(arrays_of(True), arrays_of(True), draws)
    assert found.report["target"] is None
    assert one.known is None
