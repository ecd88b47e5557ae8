"""Triggers that stand out and that nobody planted: the detector calls hardly anybody who carries them."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fedsec.inspectors.gancrop import SEVERAL
from fedsec.strategies.inspecting import Arrays, Inspected
from fedsec.training.parameters import get_arrays
from tests.backdoored import OTHER_TARGET, TARGET, trained_otherwise
from tests.inspectors.rounds import arrays_of, moved, round_of
from tests.inspectors.scripted import PLANTED, scripted
from tests.inspectors.told import OPTIONS, inspected, told

UNSUPPORTED = [-2.0] * 6 + [-1.0, -1.0, -3.0, -3.0]
"""Scores of six clean models and of four with a backdoor: two of these are searched, the others little suspected."""


def ten(bad: Arrays, seed: int = 0) -> Inspected:
    clean = arrays_of(False)
    return round_of([*(moved(clean, seed + n) for n in range(6)), *(moved(bad, seed + n) for n in range(20, 24))])


def test_a_trigger_of_whose_carriers_the_detector_says_nothing_is_a_natural_one_and_forgotten() -> None:
    inspector = told([], OPTIONS, UNSUPPORTED)
    findings = inspected(inspector, ten(arrays_of(True)))
    assert findings.report["suspects"] == 0
    assert findings.report["support"] == 0.0
    [search] = findings.report["searches"]
    assert (search["target"], search["natural"]) == (None, TARGET)
    assert inspector.search.known is inspector.search.maker is None
    np.testing.assert_allclose(findings.verdict.weights, 0.1)
    assert json.loads(json.dumps(findings.report)) == findings.report


def test_several_who_are_called_beside_a_natural_trigger_are_searched_for_one_of_their_own() -> None:
    clean, bad, other = arrays_of(False), arrays_of(True), get_arrays(trained_otherwise().network)
    models = [*(moved(clean, seed) for seed in range(15)), *(moved(bad, seed) for seed in range(20, 32))]
    values = [-2.0] * 15 + [-3.0] * 6 + [-1.0] * 6 + [1.0] * SEVERAL  # a natural trigger, and some who are called
    inspector = told([], OPTIONS, values)
    findings = inspected(inspector, round_of([*models, *(moved(other, seed) for seed in range(40, 40 + SEVERAL))]))
    assert [repair["target"] for repair in findings.report["repairs"]] == [OTHER_TARGET]
    assert [search["natural"] for search in findings.report["searches"]] == [TARGET]
    assert findings.report["suspects"] == SEVERAL


def test_a_trigger_that_the_detector_knew_once_is_not_forgotten_when_it_does_so_no_more() -> None:
    inspector = told([], OPTIONS, [-2.0] * 6 + [1.0, -1.0, -1.0, -1.0])
    first = inspected(inspector, ten(arrays_of(True)))
    assert [repair["target"] for repair in first.report["repairs"]] == [TARGET]
    assert first.report["support"] == 0.25
    again = told([], OPTIONS, UNSUPPORTED)
    again.search.load_state(inspector.search.state())
    second = inspected(again, ten(arrays_of(True), 100), 1)
    assert second.report["support"] == 0.0
    assert [repair["target"] for repair in second.report["repairs"]] == [TARGET]
    assert not second.verdict.weights[6:].any()


def test_a_natural_trigger_of_another_class_does_not_take_the_place_of_one_that_the_detector_knew() -> None:
    inspector, planted = told([], OPTIONS, [-2.0] * 8 + [-1.0, -1.0, -3.0, -3.0]), arrays_of(True)
    inspector.search.known, inspector.search.supported = PLANTED, True
    clean, other = arrays_of(False), get_arrays(trained_otherwise().network)
    models = [*(moved(clean, n) for n in range(6)), moved(planted, 7), moved(planted, 8)]
    findings = inspected(inspector, round_of([*models, *(moved(other, n) for n in range(20, 24))]))
    assert findings.report["suspects"] == 2
    assert not findings.verdict.weights[6:8].any()
    assert findings.verdict.weights[8:].all()
    assert inspector.search.known is not None
    assert (inspector.search.known.target, inspector.search.supported) == (TARGET, True)


def test_one_that_nobody_carries_does_not_take_the_place_of_one_that_the_detector_knew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nothing = replace(PLANTED, target=OTHER_TARGET, mask=np.zeros_like(PLANTED.mask))
    scripted(monkeypatch, nothing)
    clean, planted = arrays_of(False), arrays_of(True)
    models = [*(moved(clean, n) for n in range(8)), moved(planted, 20), moved(planted, 21)]
    inspector = told([], OPTIONS, [-1.0] * 10)
    inspector.search.known, inspector.search.supported = PLANTED, True
    for _ in range(2):  # nor in a round after
        findings = inspected(inspector, round_of(models))
        [search] = findings.report["searches"]
        assert (search["target"], search["natural"], findings.report["support"]) == (None, OTHER_TARGET, None)
        assert (inspector.search.known, inspector.search.supported) == (PLANTED, True)
        assert findings.report["left_out"] == [18, 19]
        np.testing.assert_allclose(findings.verdict.weights, [0.125] * 8 + [0.0] * 2)


def test_one_that_nobody_carries_is_remembered_without_support_where_none_was_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nothing = replace(PLANTED, target=OTHER_TARGET, mask=np.zeros_like(PLANTED.mask))
    scripted(monkeypatch, nothing)
    inspector = told([], OPTIONS, [-1.0] * 10)
    findings = inspected(inspector, round_of([moved(arrays_of(False), n) for n in range(10)]))
    [search] = findings.report["searches"]
    assert (search["target"], findings.report["support"], findings.report["suspects"]) == (OTHER_TARGET, None, 0)
    assert (inspector.search.known, inspector.search.supported) == (nothing, False)


@pytest.mark.parametrize(("supported", "support", "suspects"), [(False, None, 0), (True, 0.0, 5)])
def test_where_nothing_can_be_searched_a_trigger_without_support_accuses_nobody(
    supported: bool, support: float | None, suspects: int
) -> None:
    inspector = told([], OPTIONS, [-2.0] * 7 + [-3.0] * 5 + [-1.0] * 4)
    inspector.search.known, inspector.search.supported = PLANTED, supported
    clean, planted, constant = arrays_of(False), arrays_of(True), {**arrays_of(False)}
    constant["fc3.bias"] = np.where(np.arange(10) == 3, np.float32(1e4), np.float32(0.0))
    models = [*(moved(clean, n) for n in range(7)), *(moved(planted, n) for n in range(20, 25))]
    findings = inspected(inspector, round_of([*models, *(moved(constant, n) for n in range(40, 44))]))
    assert (findings.report["support"], findings.report["suspects"]) == (support, suspects)


def test_a_checkpoint_that_does_not_say_whether_a_trigger_had_support_is_refused() -> None:
    inspector = told([])
    inspector.search.known = PLANTED
    state = inspector.search.state()
    inspector.search.load_state(state)
    with pytest.raises(ValueError, match=r"keeps \['known.supported'\] of a trigger"):
        inspector.search.load_state({name: array for name, array in state.items() if "supported" not in name})
