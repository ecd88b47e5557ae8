"""Who carries a trigger that was recovered: models on which it works, and far more than on the round's median."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsec.defenses.gancrop.trigger import RecoveredTrigger
from fedsec.inspectors.carriers import (
    ABOVE,
    FIRED,
    SUSPECTED,
    TRIED,
    WITNESSES,
    Carriers,
    bound,
    carry,
    has_support,
    support,
)
from tests.backdoored import TARGET, TRIGGER, public
from tests.inspectors.rounds import arrays_of, moved, round_of

KNOWN = RecoveredTrigger(TARGET, TRIGGER.mask.astype(np.float32), TRIGGER.pattern, 100.0)
rounds = st.lists(st.floats(0.0, 100.0), min_size=1, max_size=12).map(np.array)


def carriers(*found: float) -> list[bool]:
    return (np.array(found) > bound(np.array(found))).tolist()


def test_models_with_the_backdoor_are_told_from_clean_ones_in_every_order() -> None:
    clean, bad = arrays_of(False), arrays_of(True)
    seen = round_of([clean, bad, moved(clean, 1), moved(bad, 2), moved(clean, 3)], clean)
    found = Carriers(public(), seen).lifts(KNOWN)
    assert carriers(*found) == [False, True, False, True, False]
    assert found[[1, 3]].min() > 90.0
    assert found[[0, 2, 4]].max() < 50.0


def test_by_hand() -> None:
    assert carriers(0.0, 0.0, 0.0, 90.0, 80.0) == [False] * 3 + [True] * 2
    assert carriers(0.0, 0.0, 0.0, FIRED - 1) == [False] * 4  # it does not work
    assert carriers(90.0, 92.0, 95.0, 99.0) == [False] * 4  # it works on every model: a natural one


@given(rounds)
def test_a_carrier_lies_above_the_median_by_far(found: np.ndarray) -> None:
    limit = bound(found)
    assert limit >= max(FIRED, float(np.median(found)) + ABOVE)
    assert (found > limit).sum() <= len(found) // 2
    assert set(np.flatnonzero(found > limit)) <= set(np.flatnonzero(carry(found)))
    assert not carry(found)[found <= np.median(found)].any()


def test_a_model_that_is_nan_inside_is_no_carrier_and_no_error() -> None:
    clean = arrays_of(False)
    spoilt = {**clean, "fc3.bias": np.full(10, 1e38, np.float32), "fc3.weight": np.full((10, 84), 1e38, np.float32)}
    found = Carriers(public(), round_of([clean, spoilt], clean)).lifts(KNOWN)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("clients", [1, 2])
def test_few_clients_have_an_answer(clients: int) -> None:
    clean = arrays_of(False)
    assert Carriers(public(), round_of([clean] * clients, clean)).lifts(KNOWN).shape == (clients,)


def test_lifts_are_as_a_slow_loop_has_them_whichever_triggers_were_tried_before() -> None:
    clean, bad, own = arrays_of(False), arrays_of(True), public()
    seen = round_of([clean, bad, moved(bad, 2, 0.02)], clean)
    other = replace(KNOWN, target=(TARGET + 1) % 10)
    carriers = Carriers(own, seen)
    for trigger in (KNOWN, other, KNOWN):
        nothing = replace(trigger, mask=np.zeros_like(trigger.mask))
        rates = [[own.success_of(seen.model_of(row), one, TRIED) for one in (trigger, nothing)] for row in range(3)]
        expected = np.maximum([stamped - before for stamped, before in rates], 0.0)
        np.testing.assert_allclose(carriers.lifts(trigger), expected, atol=1e-9)


def test_without_lifts_nobody_carries() -> None:
    assert carry(np.empty(0)).shape == (0,)


def test_support_by_hand() -> None:
    lifts = np.array([90.0, 80.0, 0.0, 0.0, 0.0, 0.0])
    assert support(lifts, np.array([-1.0, -2.0, 3.0, 2.0, -1.0, -2.0])) == 0.0  # the detector calls others
    assert support(lifts, np.array([0.1, -9.0, -3.0, -2.0, -3.0, -2.0])) == 0.5
    assert support(np.zeros(6), np.arange(6.0)) is None  # nobody carries it


@given(st.lists(st.tuples(st.floats(0.0, 100.0), st.floats(-5.0, 5.0)), min_size=1, max_size=12))
def test_support_is_as_a_slow_count_has_it_and_does_not_hang_on_the_order(models: list[tuple[float, float]]) -> None:
    found, told = np.array(models).T
    carriers = [score for lift, score in models if lift >= bound(found)]
    measured = support(found, told)
    assert measured == support(found[::-1], told[::-1])
    assert measured == (sum(score > 0.0 for score in carriers) / len(carriers) if carriers else None)


@pytest.mark.parametrize(
    ("models", "carrying", "called", "supported"),
    [
        (40, 1, 1, False),
        (40, 2, 1, False),
        (40, 2, 2, True),
        (40, 8, 2, True),
        (40, 9, 2, False),
        (40, 12, 3, True),
        (41, 2, 2, False),
        (10, 1, 1, True),
        (10, 4, 1, True),
        (10, 4, 0, False),
        (10, 0, 0, False),
        (20, 1, 1, True),
        (21, 1, 1, False),
        (2, 1, 1, True),
    ],
)
@pytest.mark.parametrize("others", [-1.0, 1.0], ids=["others are not called", "all others are called"])
def test_a_trigger_has_support_by_a_quarter_of_its_carriers_and_a_twentieth_of_the_models(
    models: int, carrying: int, called: int, supported: bool, others: float
) -> None:
    rows = np.arange(models)
    lifts, told = (
        np.where(rows < carrying, 90.0, 0.0),
        np.where(rows < called, 1.0, np.where(rows < carrying, -1.0, others)),
    )
    assert has_support(lifts, told) is supported
    assert has_support(lifts[::-1], told[::-1]) is supported
    assert (SUSPECTED, WITNESSES) == (0.25, 0.05)


def test_a_score_of_0_is_no_call_and_speaks_for_nothing() -> None:
    assert has_support(np.array([90.0, 90.0, 0.0, 0.0, 0.0]), np.zeros(5)) is False


@given(st.lists(st.tuples(st.floats(0.0, 100.0), st.floats(-5.0, 5.0)), min_size=1, max_size=60))
def test_whatever_has_support_has_a_quarter_of_its_carriers_called_and_enough_of_them(
    models: list[tuple[float, float]],
) -> None:
    found, told = np.array(models).T
    share, called = support(found, told), sum(lift >= bound(found) and score > 0.0 for lift, score in models)
    expected = share is not None and share >= SUSPECTED and called >= max(1.0, WITNESSES * len(models))
    assert has_support(found, told) is expected
