"""The command that says what filled classes teach: made images where there are some; it keeps what it found."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import filling_worth
from benchmarks.filling_worth import evenly


def test_made_images_are_taken_before_the_client_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling_worth, "PER_CLASS", 2)
    labels = np.array([0, 0, 0, 1, 1, 1, 1])
    images = np.arange(7, dtype=np.uint8).reshape(7, 1, 1, 1)
    chosen, classes = evenly(images, labels, own=4)
    assert chosen.ravel().tolist() == [0, 1, 4, 5]
    assert classes.tolist() == [0, 0, 1, 1]


def test_the_command_prints_and_keeps_what_was_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(filling_worth, "with_malloc_settings", lambda: None)
    monkeypatch.setattr(filling_worth, "accuracies", lambda config, client, seeds: [float(client)] * seeds)
    monkeypatch.setattr(sys, "argv", ["filling_worth", "--clients", "3", "--seeds", "2", "--out", str(tmp_path)])
    filling_worth.main()
    assert "| 3 | repeat | 3.0 % | 3.0, 3.0 |" in capsys.readouterr().out
    written = json.loads((tmp_path / "filling_worth_digits.json").read_text())
    assert set(written["accuracies"]["3"]) == {"none", "repeat", "augment", "cgan"}


def test_what_fills_the_classes_teaches_more_than_chance() -> None:
    config = filling_worth.configuration("digits", 0.5, "repeat")
    [accuracy] = filling_worth.accuracies(config, 3, 1)
    assert 40.0 < accuracy <= 100.0
