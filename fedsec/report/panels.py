"""MA or BA by round for tables with more cells than one picture can hold: a panel for each combination of values."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedsec.report.differences import plain
from fedsec.report.figures import COLOURS, LINES, STYLE

WIDTH, HEIGHT = 2.5, 1.7
"""Of a panel, in inches."""


def panels(rounds: pd.DataFrame, axes: Mapping[str, Sequence[Any]], measure: str) -> Figure:
    """Return a grid of panels: the last axis as lines, the one before as columns, all others as rows.

    Args:
        rounds: one row a round of a run, as :func:`fedsec.report.records.read_rounds` returns them; several runs of
            the same values (of different seeds) are averaged, with their range shaded.
        axes: the values on each axis, two axes or more; those that no run has are left out.
        measure: ``"MA"`` or ``"BA"``.
    """
    *outer, across, lines = axes
    present = set(rounds[list(axes)].itertuples(index=False, name=None))
    rows = [
        row
        for row in itertools.product(*(axes[axis] for axis in outer))
        if any(cell[: len(outer)] == row for cell in present)
    ]
    columns = [value for value in axes[across] if any(cell[-2] == value for cell in present)]
    size = (WIDTH * len(columns) + 0.6, HEIGHT * len(rows) + 0.8)
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(
            len(rows), len(columns), figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
        )
        for (line, row), (place, column) in itertools.product(enumerate(rows), enumerate(columns)):
            panel, at = grid[line, place], dict(zip((*outer, across), (*row, column), strict=True))
            found = rounds[(rounds[list(at)] == pd.Series(at)).all(axis=1)]
            _draw(panel, found, lines, axes[lines], measure)
            if line == 0:
                panel.set_title(f"{across.partition('.')[2]} = {plain(column)}", fontsize=8)
            if place == 0:
                named = (f"{key.partition('.')[2]} = {plain(value)}" for key, value in zip(outer, row, strict=True))
                panel.set_ylabel("\n".join(named), fontsize=8)
        for panel in grid[-1]:
            panel.set_xlabel("round", fontsize=8)
        _draw_legend(figure, grid.flat)
        figure.suptitle(f"{measure}, %", fontsize=10)
    return figure


def _draw(panel: Axes, found: pd.DataFrame, axis: str, values: Sequence[Any], measure: str) -> None:
    panel.set_ylim(-3, 103)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    if found.empty:
        panel.set_axis_off()
    for number, value in enumerate(values):
        of_value = found[(found[axis] == value) & (found["round"] > 0) & found[measure].notna()]
        if of_value.empty:
            continue
        by_round = of_value.groupby("round")[measure]
        look = {"color": COLOURS[number % len(COLOURS)], "linestyle": LINES[number // len(COLOURS) % len(LINES)]}
        means = by_round.mean()
        panel.plot(means.index, means, label=plain(value), linewidth=1.2, **look)
        if by_round.size().max() > 1:
            panel.fill_between(
                means.index, by_round.min(), by_round.max(), color=look["color"], alpha=0.15, linewidth=0
            )


def _draw_legend(figure: Figure, drawn: Iterable[Axes]) -> None:
    both = [panel.get_legend_handles_labels() for panel in drawn]
    once = {str(label): handle for lines, labels in both for handle, label in zip(lines, labels, strict=True)}
    figure.legend(list(once.values()), list(once), frameon=False, fontsize=8, loc="outside lower center", ncols=5)
