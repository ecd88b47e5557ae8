"""Unlearning by compiled code is unlearning by torch, up to the rounding of stamped pixels."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedsec.defenses.gancrop.trigger import RecoveredTrigger
from fedsec.defenses.gancrop.unlearning import UnlearningOptions
from fedsec.inspectors.public import PublicData
from fedsec.inspectors.unlearning import unlearned
from tests.backdoored import TARGET, TRIGGER, measured, public
from tests.inspectors.rounds import arrays_of

PLANTED = RecoveredTrigger(TARGET, TRIGGER.mask.astype(np.float32), TRIGGER.pattern, 100.0)
OTHER_MASK = np.zeros((28, 28), np.float32)
OTHER_MASK[:3, :5] = 1.0  # no pixel of what it stamps is rounded
OTHER = RecoveredTrigger(2, OTHER_MASK, np.ones((1, 28, 28), np.float32), 60.0)
HELD = 100


def by_torch() -> PublicData:
    given = public()
    object.__setattr__(given, "chain", None)
    return given


@pytest.mark.parametrize("triggers", [[], [PLANTED], [PLANTED, OTHER]], ids=["none", "one", "two"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_few_steps_are_those_of_torch(triggers: list[RecoveredTrigger], momentum: float) -> None:
    options = UnlearningOptions(epochs=1, batch_size=150, momentum=momentum)
    start = arrays_of(True)
    ours, theirs = (
        unlearned(given, HELD, start, triggers, options, torch.Generator().manual_seed(3))
        for given in (public(), by_torch())
    )
    assert public().chain is not None
    assert list(ours[0]) == list(theirs[0])
    assert ours[1] == pytest.approx(theirs[1], rel=1e-2)
    for name, array in theirs[0].items():
        assert not np.array_equal(ours[0][name], start[name])
        np.testing.assert_allclose(ours[0][name], array, rtol=0, atol=2e-4)


def test_a_trigger_is_unlearned_and_the_model_that_was_given_stays() -> None:
    start = arrays_of(True)
    before = {name: array.copy() for name, array in start.items()}
    options = UnlearningOptions(epochs=4)
    arrays, loss = unlearned(public(), HELD, start, [PLANTED], options, torch.Generator().manual_seed(0))
    accuracy, success = measured(public().load(arrays).eval())
    assert success < 20.0
    assert accuracy > 90.0
    assert loss < 1.0
    assert all(np.array_equal(start[name], array) for name, array in before.items())


def test_an_unlearning_that_diverges_says_so_by_its_loss() -> None:
    options = replace(UnlearningOptions(), learning_rate=1e30)
    _, loss = unlearned(public(), HELD, arrays_of(True), [PLANTED], options, torch.Generator().manual_seed(0))
    assert not np.isfinite(loss)
