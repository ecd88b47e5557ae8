"""What GANcrop searches in a round: whom for a trigger, compared with whom, and when nobody."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsec.inspectors.gancrop import candidates, least_suspicious
from tests.inspectors.rounds import arrays_of, moved, round_of
from tests.inspectors.scripted import scripted
from tests.inspectors.told import QUICK, Told, inspected, told


def test_searches_that_find_nothing_rest_until_a_tenth_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    script, clean = scripted(monkeypatch, None), arrays_of(False)
    seen = round_of([moved(clean, seed) for seed in range(10)])
    inspector, rounds = told([]), [([], 1), ([], 0), ([], 1), ([], 0), ([0], 1), ([], 0), ([], 0), ([0, 1], 2)]
    for rows, calls in rounds:
        inspector.watch = Told(inspector.watch, rows)
        before = len(script.calls)
        report = inspected(inspector, seen).report
        assert len(script.calls) - before == calls  # two where a fifth is called: then one goes on that finds nothing
        assert len(report["searches"]) == (calls > 0 and not rows)
        assert report["support"] is None
        assert len(report["repairs"]) == bool(rows)


def test_suspects_that_are_repaired_each_by_itself_are_searched_in_every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    script, clean = scripted(monkeypatch, None), arrays_of(False)
    seen, inspector = round_of([moved(clean, seed) for seed in range(10)]), told([], replace(QUICK, repair="each"))
    for number in range(1, 5):
        assert len(inspected(inspector, seen).report["searches"]) == 1
        assert len(script.calls) == number


@given(st.lists(st.floats(-5.0, 5.0), min_size=1, max_size=12).map(np.array))
def test_a_trigger_is_recovered_from_the_most_suspicious_and_compared_with_the_least(scores: np.ndarray) -> None:
    most, least = candidates(scores), least_suspicious(scores)
    assert most[scores > 0.0].all()
    assert least.sum() == (len(scores) + 1) // 2
    if most.any() and not most.all():
        assert scores[most].min() >= scores[~most].max()
    assert scores[least].max() <= scores[~least].min(initial=np.inf)


def test_without_a_detector_nobody_is_a_candidate() -> None:
    assert not candidates(np.zeros(5)).any()
