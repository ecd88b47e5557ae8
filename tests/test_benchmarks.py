"""The benchmarks tell what each rule takes, whatever ran before it."""

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import measuring
from benchmarks.aggregation import draw, errors, share, turn_parallel
from benchmarks.measuring import Timing, timed

MIB = 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are measured on Linux")
def test_a_larger_rule_before_it_does_not_hide_the_memory_of_a_rule() -> None:
    large, small = (timed(lambda size=size: np.ones(size * MIB, np.uint8).sum(), 1).added_mib for size in (200, 50))
    assert large == pytest.approx(200, abs=15)
    assert small == pytest.approx(50, abs=15)


def test_where_the_system_cannot_tell_memory_is_not_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(measuring, "CLEAR", tmp_path / "missing" / "clear_refs")
    timing = timed(lambda: None, 1)
    assert timing.added_mib is None
    assert share(timing, 1.0) == share(timing.scaled(8.0), 1.0) == "not measured"


def test_time_and_memory_of_a_part_are_scaled() -> None:
    assert Timing((1.0, 2.0), 3.0).scaled(2.0) == Timing((2.0, 4.0), 6.0)


def test_both_kinds_of_updates_are_what_they_are_called() -> None:
    rows = draw(4, 5000).deltas
    for below, above in ((0.6, 0.4), (1.0, 0.9)):
        cosines = np.corrcoef(rows)[np.triu_indices(4, 1)]
        assert above < cosines.min() <= cosines.max() < below
        assert errors(rows)[0] < 1e-7
        turn_parallel(rows)
