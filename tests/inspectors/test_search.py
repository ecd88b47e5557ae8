"""The search for triggers from round to round: where it goes on, what it remembers and forgets, and when it rests."""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch

from fedsec.defenses.gancrop.recovery import RecoveryOptions
from fedsec.defenses.gancrop.trigger import RecoveredTrigger
from fedsec.inspectors.search import KNOWN, LONGEST_REST, NARROW, QUIET, REFINED, Found, TriggerSearch
from fedsec.strategies.inspecting import Arrays
from tests.backdoored import TARGET, public
from tests.inspectors.rounds import arrays_of
from tests.inspectors.scripted import PLANTED, scripted

RECOVERY = RecoveryOptions(steps=300, batch_size=8)
QUICK = RecoveryOptions(steps=3, batch_size=4)
WARM = 20


def searching(recovery: RecoveryOptions = QUICK) -> TriggerSearch:
    return TriggerSearch(public(), recovery, warm_steps=WARM)


def find(one: TriggerSearch, draws: torch.Generator | None = None, suspect: bool = True, **how: bool) -> Found:
    return one.find(arrays_of(suspect), arrays_of(False), draws or torch.Generator().manual_seed(0), **how)


@lru_cache
def _first() -> TriggerSearch:
    one = searching(RECOVERY)
    find(one)
    return one


def found_once() -> TriggerSearch:
    """Return one that has found the backdoor, which takes seconds, a new copy each time."""
    return _first().apart()


def no_use(value: float = 1e6) -> Arrays:
    """Return a model that answers class 3 for everything, or NaN."""
    return {**arrays_of(True), "fc3.bias": np.where(np.arange(10) == 3, np.float32(value), np.float32(0.0))}


@pytest.mark.parametrize("compiled", [True, False])
def test_a_backdoor_is_found_and_known(compiled: bool) -> None:
    one = searching(RECOVERY)
    if not compiled:
        object.__setattr__(one.public, "chain", None)
    found = find(one)
    assert found.report["target"] == TARGET
    assert found.trusted_accuracy > 90.0
    assert one.known is not None
    assert one.known.target == TARGET


@pytest.mark.parametrize(
    ("value", "reason"), [(1e6, "it takes every public image for class 3"), (np.nan, "it gives NaN or infinity")]
)
def test_nothing_is_learned_from_a_model_that_is_no_use(value: float, reason: str) -> None:
    one = searching()
    found = one.find(no_use(value), arrays_of(False), torch.Generator())
    assert found.recovery is None
    assert found.report["outcome"].startswith(f"left out: {reason}")
    assert one.maker is None
    assert one.known is None
    assert one.fruitless == 0
    assert one.state() == {}


def test_a_recovery_that_does_not_converge_finds_nothing_and_the_next_one_starts_anew() -> None:
    one = searching(replace(QUICK, learning_rate=1e38))
    found = find(one)
    assert found.recovery is None
    assert found.report["outcome"] == "left out: the recovery did not converge"
    assert one.maker is None
    assert one.fruitless == 1
    one.options = QUICK
    assert find(one).report["steps"] == QUICK.steps


def same(one: Found, other: Found) -> bool:
    assert one.recovery is not None
    assert other.recovery is not None
    pairs = zip(one.recovery.triggers, other.recovery.triggers, strict=True)
    alike = all(np.array_equal(a.mask, b.mask) and np.array_equal(a.pattern, b.pattern) for a, b in pairs)
    return alike and one.report == other.report


@pytest.mark.parametrize("found", [False, True], ids=["nothing found", "a trigger found"])
def test_state_brings_back_what_the_next_search_goes_on_from(found: bool) -> None:
    one, other = found_once() if found else searching(), searching(RECOVERY if found else QUICK)
    if not found:
        find(one)
    state: dict[str, Any] = {name: array.copy() for name, array in one.state().items()}
    other.load_state(state)
    assert (one.known is not None) == (other.known is not None) == found
    assert any(name.startswith(KNOWN) for name in state) == found
    assert any(name.startswith(QUIET) for name in state) == (not found)
    draws = [torch.Generator().manual_seed(1) for _ in range(2)]
    first, second = (find(which, draw) for which, draw in zip((one, other), draws, strict=True))
    assert first.report["steps"] == (WARM if found else QUICK.steps)
    assert same(first, second)
    assert torch.equal(draws[0].get_state(), draws[1].get_state())
    other.load_state({})
    assert other.state() == {}


def test_a_search_apart_goes_on_from_there_and_leaves_the_first_as_it_was() -> None:
    one = found_once()
    before = {name: array.copy() for name, array in one.state().items()}
    apart = one.apart()
    assert find(apart, torch.Generator().manual_seed(1)).report["steps"] == WARM
    after = one.state()
    assert before.keys() == after.keys()
    assert all(np.array_equal(array, after[name]) for name, array in before.items())
    assert apart.narrow == one.narrow + 1


def test_where_the_same_class_stands_out_again_no_other_is_tried_but_for_every_tenth_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scripted(monkeypatch, PLANTED)
    one = searching(RECOVERY)
    reports = [find(one).report for _ in range(NARROW + 3)]
    assert {report["target"] for report in reports} == {TARGET}
    assert [report["tried"] for report in reports] == [10, *[1] * NARROW, 10, 1]
    # Nothing is searched while a refined trigger works as wanted; afterwards all classes are, from where they were.
    assert [r["steps"] for r in reports] == [300, *[WARM] * REFINED, *[0] * (NARROW - REFINED), WARM, WARM]


def test_the_class_that_stood_out_stands_out_again_in_a_few_steps() -> None:
    one, draws = searching(RECOVERY), torch.Generator().manual_seed(0)
    reports = [find(one, draws).report for _ in range(REFINED + 1)]
    assert [(report["target"], report["tried"]) for report in reports] == [(TARGET, 10), *[(TARGET, 1)] * REFINED]
    assert [report["steps"] for report in reports] == [RECOVERY.steps, *[WARM] * REFINED]


def test_a_refined_trigger_that_works_too_seldom_is_refined_again() -> None:
    one, draws = found_once(), torch.Generator().manual_seed(1)
    for wanted, steps in ((0.5, 0), (1.01, WARM)):
        one.narrow, one.options = REFINED, replace(RECOVERY, wanted=wanted)
        assert find(one, draws).report["steps"] == steps
        assert one.narrow == REFINED + 1


def test_a_model_without_the_known_trigger_has_all_classes_tried_and_the_trigger_is_forgotten() -> None:
    one, draws = found_once(), torch.Generator().manual_seed(1)
    assert one.known is not None
    found = find(one, draws, suspect=False)
    assert (found.report["target"], found.report["tried"]) == (None, 10)
    assert one.known is None
    assert one.maker is None


@pytest.mark.parametrize("again", [QUICK, replace(QUICK, learning_rate=1e38)], ids=["fails", "diverges"])
def test_where_a_search_finds_nothing_the_known_trigger_is_tried_as_it_is(again: RecoveryOptions) -> None:
    one, draws = found_once(), torch.Generator().manual_seed(1)
    known, one.maker, one.narrow, one.options = one.known, None, NARROW, again
    assert known is not None
    found = find(one, draws)
    assert found.report["target"] == TARGET
    assert found.report["success"] == pytest.approx(known.success, abs=2.0)
    assert found.report["success_on_trusted"] < 30.0
    assert one.known is not None
    assert np.array_equal(one.known.mask, known.mask)


def test_a_known_trigger_that_works_on_the_trusted_model_as_well_is_no_backdoor_any_more() -> None:
    one, draws = found_once(), torch.Generator().manual_seed(1)
    one.maker, one.narrow, one.options = None, NARROW, QUICK
    found = one.find(arrays_of(True), arrays_of(True), draws)
    assert found.report["target"] is None
    assert one.known is None


def searched(one: TriggerSearch, rounds: range) -> list[int]:
    """Return in which rounds something is searched where nobody is called."""
    done = []
    for number in rounds:
        if not one.rests():
            find(one)
            done.append(number)
    return done


def test_searches_that_find_nothing_rest_longer_and_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    script, one = scripted(monkeypatch, None), searching()
    assert searched(one, range(1, 19)) == [1, 3, 6, 10, 14, 18]
    assert script.calls == [(QUICK.steps, None)] * 6
    # Each began anew: from where nothing was found it would not come away.
    assert len(set(map(id, script.makers))) == 6
    assert LONGEST_REST == 3


@pytest.mark.parametrize("rounds", range(12))
def test_a_search_that_rests_goes_on_after_a_stop_as_it_would_have(
    rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, None)
    one, other = searching(), searching()
    searched(one, range(1, rounds + 1))
    other.load_state({name: array.copy() for name, array in one.state().items()})
    assert (other.fruitless, other.rested) == (one.fruitless, one.rested)
    more = range(rounds + 1, 16)
    assert searched(other, more) == [number for number in (1, 3, 6, 10, 14) if number in more]


def test_a_known_trigger_never_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    script, one = scripted(monkeypatch, None, None, PLANTED), searching()
    assert searched(one, range(1, 20)) == [1, 3, *range(6, 20)]
    assert (one.fruitless, one.rested) == (0, 0)
    assert len(script.calls) < 16  # a refined one that still works as wanted is tried as it is
    one.known = None
    assert not one.rests()  # what was found has ended the row of searches in vain


def test_what_is_dismissed_was_found_in_vain_but_for_an_earlier_trigger(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, PLANTED)
    one = searching()
    find(one)
    assert (one.fruitless, one.rests()) == (0, False)
    one.dismiss(None)
    assert (one.known, one.maker, one.supported, one.fruitless) == (None, None, False, 1)
    assert [one.rests(), one.rests()] == [True, False]
    find(one)
    one.dismiss(None)
    assert one.fruitless == 2  # it was found and dismissed again
    assert [one.rests(), one.rests(), one.rests()] == [True, True, False]
    find(one)
    one.dismiss(PLANTED)
    assert (one.known, one.supported, one.rests()) == (PLANTED, True, False)
    find(one)
    assert one.fruitless == 0


def test_a_suspect_that_is_no_use_says_nothing_about_what_can_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    script, one = scripted(monkeypatch, None), searching()
    find(one)
    assert one.rests()
    before = one.fruitless, one.rested
    one.find(no_use(), arrays_of(False), torch.Generator())
    assert (one.fruitless, one.rested) == before == (1, 1)
    assert len(script.calls) == 1


@pytest.mark.parametrize(
    ("answers", "thorough", "calls", "target"),
    [
        ((None, PLANTED), True, 2, TARGET),
        ((None, PLANTED), False, 1, None),
        ((PLANTED,), True, 1, TARGET),
        ((None,), True, 2, None),
    ],
    ids=["found the second time", "not thorough", "found at once", "never found"],
)
def test_a_thorough_search_goes_on_once_where_it_finds_nothing(
    answers: tuple[RecoveredTrigger | None, ...],
    thorough: bool,
    calls: int,
    target: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script, one = scripted(monkeypatch, *answers), searching(RECOVERY)
    found = find(one, thorough=thorough)
    assert script.calls == [(RECOVERY.steps, None)] * calls
    assert len(set(map(id, script.makers))) == 1
    assert found.report["steps"] == calls * RECOVERY.steps
    assert found.report["target"] == target
    assert (one.maker is not None) == (target is not None)


def test_a_thorough_search_counts_the_steps_for_the_class_that_stood_out_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script, one = scripted(monkeypatch, PLANTED, None, None, PLANTED), searching(RECOVERY)
    find(one)
    assert find(one, thorough=True).report["steps"] == WARM + 2 * RECOVERY.steps
    assert script.calls == [(300, None), (WARM, TARGET), (300, None), (300, None)]
    assert script.makers[1] is script.makers[0]
    assert script.makers[2] is script.makers[3] is not script.makers[0]
