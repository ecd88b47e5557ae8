"""The command that counts whom the loss forest flags."""

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import loss_forest
from benchmarks.loss_forest import WAYS, measured


def test_the_command_prints_and_keeps_what_was_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(loss_forest, "SETTINGS", ((4, 1),))
    monkeypatch.setattr(loss_forest, "reference", loss_forest.ours)
    monkeypatch.setattr(loss_forest, "WAYS", WAYS[1:])
    monkeypatch.setattr(sys, "argv", ["loss_forest", "--trials", "5", "--repeats", "1", "--out", str(tmp_path)])
    loss_forest.main()
    printed = capsys.readouterr().out
    assert '| sides = "high", floor = 3 | 4 | 1 | 100.0 % | 0.0 % | 100.0 % | 100.0 % | 0.0 % |' in printed
    assert (tmp_path / "loss_forest.md").read_text() == printed


def test_without_attackers_there_is_nobody_to_catch_and_the_floor_spares_the_honest() -> None:
    default, floor = (
        next(way for way in WAYS if way.name == name) for name in ("default", 'sides = "high", floor = 3')
    )
    flagged = [measured(way, 4, 0, 200) for way in (default, floor)]
    assert np.isnan(flagged[0][0])
    assert flagged[0][1] == pytest.approx(27, abs=5)
    assert flagged[1][1] < 6


def test_the_authors_forest_is_measured_beside_ours() -> None:
    assert measured(WAYS[0], 4, 1, 2)[:3] == (100.0, 0.0, 100.0)
