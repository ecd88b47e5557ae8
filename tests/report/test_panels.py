"""A large table's rounds: every cell has its panel and its line, and the numbers are the means of the seeds."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from fedsec.report import page
from fedsec.report.page import write_report
from fedsec.report.panels import panels
from fedsec.runs.table import load_table
from tests.report.finished import record

AXES = {
    "data.dataset": ["a", "b"],
    "data.q": [0.1, 0.5],
    "data.balance": ["none", "cgan"],
    "defense.strategy": ["x", "y"],
}


def rounds(left_out: tuple[object, ...] = ("b", 0.1, "cgan")) -> pd.DataFrame:
    rows = []
    for number, cell in enumerate(itertools.product(*AXES.values())):
        if cell[:3] != left_out:
            rows += [
                dict(zip(AXES, cell, strict=True)) | {"round": r, "MA": number + r + seed, "BA": None, "run.seed": seed}
                for r in range(3)
                for seed in (0, 2)
            ]
    return pd.DataFrame(rows)


def test_there_is_a_panel_for_each_combination_with_a_line_for_each_value_of_the_last_axis() -> None:
    figure = panels(rounds(), AXES, "MA")
    drawn = np.array(figure.axes).reshape(4, 2)
    assert [panel.get_title() for panel in drawn[0]] == ["balance = none", "balance = cgan"]
    assert [panel.get_ylabel().replace("\n", ", ") for panel in drawn[:, 0]] == [
        f"dataset = {dataset}, q = {q:g}" for dataset in "ab" for q in (0.1, 0.5)
    ]
    for place, cell in enumerate(itertools.product(*AXES.values())):
        panel = drawn.flat[place // 2]
        if cell[:3] == ("b", 0.1, "cgan"):
            assert not panel.lines
            assert not panel.axison
        else:
            line = panel.lines[place % 2]
            assert line.get_label() == cell[3]
            np.testing.assert_array_equal(line.get_xydata(), [[1, place + 2], [2, place + 3]])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["x", "y"]
    plt.close(figure)


def test_rows_without_any_run_are_left_out_and_a_measure_that_nobody_has_draws_no_line() -> None:
    some = rounds()
    figure = panels(some[some["data.dataset"] == "a"], AXES, "BA")
    assert len(figure.axes) == 4
    assert not any(panel.lines for panel in figure.axes)
    plt.close(figure)


TABLE = """
title = "A table"
[axes]
"data.q" = [0.2, 0.5]
"defense.strategy" = ["fedavg", "median"]
[data]
dataset = "digits"
[attack]
kind = "backdoor"
"""


@pytest.mark.parametrize(("most", "pictures"), [(4, {""}), (3, {"", "_MA", "_BA"})])
def test_a_table_with_more_lines_than_can_be_told_apart_gets_panels(
    most: int, pictures: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "MOST_LINES", most)
    (tmp_path / "big.toml").write_text(TABLE)
    table = load_table(tmp_path / "big.toml")
    folders = [record(run, tmp_path / f"run{number}", 90.0, 80.0) for number, (_, run) in enumerate(table.runs([0]))]
    write_report(folders, tmp_path / "out", table)
    written = {path.stem for path in (tmp_path / "out").glob("*.png") if "partition" not in path.stem}
    assert written == {f"big{ending}" for ending in pictures}
    assert all(f"big{ending}.png" in (tmp_path / "out" / "big.md").read_text() for ending in pictures)
