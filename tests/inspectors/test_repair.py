"""Repair of a suspect: a backdoor goes, and whatever cannot be repaired is left out, with the reason."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedsec.defenses.gancrop.recovery import Recovery, RecoveryOptions
from fedsec.defenses.gancrop.unlearning import UnlearningOptions
from fedsec.inspectors.public import PublicData
from fedsec.inspectors.repair import MOST_LEFT, MOST_LOST, Repaired, Repairer, outcome_of
from fedsec.inspectors.search import NARROW, Found, TriggerSearch
from fedsec.strategies.inspecting import Arrays
from tests.backdoored import TARGET, measured, public, trained
from tests.inspectors.rounds import arrays_of
from tests.inspectors.scripted import PLANTED

RECOVERY = RecoveryOptions(steps=300, batch_size=8)
QUICK = RecoveryOptions(steps=3, batch_size=4)
UNLEARNING = UnlearningOptions(epochs=4)
FOUND = Found(Recovery((PLANTED,), np.zeros(1), TARGET), {"target": TARGET}, 99.0)


def repaired(
    suspect: Arrays,
    found: Found = FOUND,
    unlearning: UnlearningOptions = UNLEARNING,
    images: PublicData | None = None,
) -> Repaired:
    """Return what comes of a suspect in which a trigger was found, the planted one if none is given."""
    return Repairer(images or public(), unlearning).repair(suspect, found, torch.Generator().manual_seed(0))


def searched(
    suspect: Arrays,
    recovery: RecoveryOptions,
    trusted: Arrays | None = None,
    images: PublicData | None = None,
) -> Repaired:
    """Return what comes of a suspect from which a trigger is recovered first."""
    images, draws = images or public(), torch.Generator().manual_seed(0)
    found = TriggerSearch(images, recovery, warm_steps=2).find(suspect, trusted or arrays_of(False), draws)
    return Repairer(images, UNLEARNING).repair(suspect, found, draws)


def spoilt(value: float, name: str = "fc3.bias") -> Arrays:
    """Return a model that answers one class for everything, or NaN."""
    bias = np.zeros(10, np.float32)
    bias[3] = value
    return {**arrays_of(True), name: bias}


@pytest.mark.parametrize("compiled", [True, False])
def test_a_backdoor_is_recovered_and_unlearned(compiled: bool) -> None:
    images = public()
    if not compiled:
        object.__setattr__(images, "chain", None)
    result = searched(arrays_of(True), RECOVERY, images=images)
    assert result.report["target"] == TARGET
    assert result.report["outcome"] == "repaired"
    assert result.report["success_after"] < 30.0
    assert result.arrays is not None
    accuracy, success = measured(public().load(result.arrays).eval())
    assert success < 20.0
    assert accuracy > measured(trained(True))[0] - 5.0


@pytest.mark.parametrize(
    ("value", "reason"), [(1e6, "it takes every public image for class 3"), (np.nan, "it gives NaN or infinity")]
)
@pytest.mark.parametrize("found", [FOUND, None], ids=["found in others", "searched itself"])
def test_a_model_that_is_no_use_is_left_out(value: float, reason: str, found: Found | None) -> None:
    result = repaired(spoilt(value), found) if found else searched(spoilt(value), QUICK)
    assert result.arrays is None
    assert result.report["outcome"].startswith(f"left out: {reason}")


@pytest.mark.parametrize("number", [10, 13, 20])
def test_with_few_public_images_a_good_model_is_not_taken_for_one_of_no_use(number: int) -> None:
    own = public()
    every = [np.flatnonzero(own.labels == label) for label in range(10)]
    few = np.array([every[place % 10][place // 10] for place in range(number)])
    result = searched(arrays_of(True), QUICK, images=replace(own, images=own.images[few], labels=own.labels[few]))
    assert "it takes every public image" not in result.report["outcome"]
    assert result.report["accuracy_before"] > 80.0


def test_a_model_whose_recovery_does_not_converge_is_left_out() -> None:
    result = searched(arrays_of(True), replace(QUICK, learning_rate=1e38))
    assert result.arrays is None
    assert result.report["outcome"] == "left out: the recovery did not converge"


def test_an_unlearning_that_diverges_leaves_the_model_out() -> None:
    result = repaired(arrays_of(True), unlearning=UnlearningOptions(learning_rate=1e30))
    assert result.arrays is None
    assert result.report["outcome"] == "left out: the unlearning did not converge"


@pytest.mark.parametrize("trusted", [99.0, float("nan")], ids=["trusted", "the trusted model gives NaN"])
def test_an_unlearning_that_costs_accuracy_leaves_the_model_out(trusted: float) -> None:
    found, fast = replace(FOUND, trusted_accuracy=trusted), UnlearningOptions(epochs=2, learning_rate=0.3)
    result = repaired(arrays_of(True), found, fast)
    assert result.arrays is None
    before, after = result.report["accuracy_before"], result.report["accuracy_after"]
    assert after < before - MOST_LOST
    assert result.report["outcome"] == f"left out: the unlearning cost {before - after:.1f} points of accuracy"


def test_an_unlearning_that_leaves_the_backdoor_leaves_the_model_out() -> None:
    result = repaired(arrays_of(True), unlearning=UnlearningOptions(epochs=1, learning_rate=1e-3))
    assert result.arrays is None
    assert result.report["accuracy_after"] >= result.report["accuracy_before"] - MOST_LOST
    left = result.report["success_after"]
    assert left > 90.0
    assert (
        result.report["outcome"] == f"left out: {left:.0f} percent of the stamped images are still taken for the target"
    )


def test_a_repaired_model_may_know_as_little_as_the_trusted_one() -> None:
    fast = UnlearningOptions(epochs=2, learning_rate=0.3)
    after = repaired(arrays_of(True), unlearning=fast).report["accuracy_after"]
    for trusted, kept in ((after + MOST_LOST - 1.0, True), (after + MOST_LOST + 1.0, False)):
        result = repaired(arrays_of(True), replace(FOUND, trusted_accuracy=trusted), fast)
        assert (result.arrays is not None) == kept
        assert result.report["outcome"].startswith("repaired" if kept else "left out: the unlearning cost 4.0 points")


def test_a_model_in_which_no_trigger_stands_out_is_left_out() -> None:
    result = searched(arrays_of(False), RECOVERY, trusted=arrays_of(False))
    assert result.report["target"] is None
    assert result.arrays is None
    assert result.report["outcome"] == "left out: no trigger stands out"


@pytest.mark.parametrize("again", [QUICK, replace(QUICK, learning_rate=1e38)], ids=["fails", "diverges"])
def test_a_trigger_that_a_search_missed_and_that_was_tried_as_it_was_is_unlearned(again: RecoveryOptions) -> None:
    one, draws = TriggerSearch(public(), again, warm_steps=20), torch.Generator().manual_seed(0)
    one.known, one.narrow = PLANTED, NARROW
    found = one.find(arrays_of(True), arrays_of(False), draws)
    assert Repairer(public(), UNLEARNING).repair(arrays_of(True), found, draws).report["outcome"] == "repaired"


def test_the_suspect_and_the_trusted_model_stay_as_they_were() -> None:
    suspect, trusted = arrays_of(True), arrays_of(False)
    before = {name: array.copy() for name, array in suspect.items()}
    state = {name: array.copy() for name, array in trusted.items()}
    searched(suspect, QUICK, trusted=trusted)
    assert repaired(suspect).report["outcome"] == "repaired"
    assert all(np.array_equal(array, before[name]) for name, array in suspect.items())
    assert all(np.array_equal(array, state[name]) for name, array in trusted.items())


def test_the_same_draws_repair_alike() -> None:
    one, other = repaired(arrays_of(True)), repaired(arrays_of(True))
    assert one.report == other.report
    assert one.arrays is not None
    assert other.arrays is not None
    assert all(np.array_equal(array, other.arrays[name]) for name, array in one.arrays.items())


BEFORE = 90.0
KEPT = BEFORE - MOST_LOST


@pytest.mark.parametrize(
    ("loss", "accuracy", "success", "outcome"),
    [
        (0.1, KEPT, MOST_LEFT, "repaired"),
        (0.1, 100.0, 0.0, "repaired"),
        (1e30, KEPT, 0.0, "repaired"),
        (0.1, np.nextafter(KEPT, 0.0), 0.0, "left out: the unlearning cost 3.0 points of accuracy"),
        (0.1, 0.0, 100.0, "left out: the unlearning cost 90.0 points of accuracy"),
        (0.1, KEPT, np.nextafter(MOST_LEFT, 99.0), "left out: 30 percent of the stamped images are still taken"),
        (0.1, 100.0, 100.0, "left out: 100 percent of the stamped images are still taken"),
        (float("nan"), 100.0, 0.0, "left out: the unlearning did not converge"),
        (float("inf"), 100.0, 0.0, "left out: the unlearning did not converge"),
        (0.1, float("nan"), 0.0, "left out: the unlearning did not converge"),
    ],
)
def test_what_is_made_of_a_repair_on_both_sides_of_each_bound(
    loss: float, accuracy: float, success: float, outcome: str
) -> None:
    assert outcome_of(loss, BEFORE, accuracy, success).startswith(outcome)
