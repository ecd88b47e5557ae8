"""Figures 5 and 6 of the paper on GANcrop, and the triggers that were recovered, for any runs that are defended."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from fedsec.report.defended import Runs, defended_rounds
from fedsec.report.figures import COLOURS, LINES, STYLE, save
from fedsec.runs.defended import Defended
from fedsec.runs.record import RunFolder

SUB_MODELS = {"global": "global model", "benign": "benign sub-model", "repaired": "repaired sub-model"}
LOOKS: dict[str, Any] = {"global": {"color": "0.6", "linestyle": "dotted"}, "benign": {"color": COLOURS[0]},
                         "repaired": {"color": COLOURS[3]}}  # fmt: skip

SHOWN = 8
"""Rounds whose recovered triggers are shown, of each label's first run."""


def defense_pictures(runs: Runs, path: Path, defended: Defended | None) -> dict[str, Path]:
    """Write the pictures beside ``path``, whose names begin with its, and the sub-models' numbers; return the pictures.

    Args:
        runs: the runs under each label.
        path: without an ending.
        defended: of the table; ``None`` for no table, or one that asks for nothing.
    """
    drawn: dict[str, tuple[str, Figure | None]] = {}
    if defended is not None:
        drawn["Defended rounds, and MA by round (Figure 5)"] = ("defended", figure_5(runs, defended.below))
    found = sub_models(runs)
    if not found.empty:
        found.round(2).to_csv(path.with_name(f"{path.name}_submodels.csv"), index=False)
        drawn["MA and BA of the sub-models (Figure 6)"] = ("submodels", figure_6(found))
    drawn["Recovered triggers, by round"] = ("triggers", recovered_triggers(runs))
    return {
        heading: save(figure, path.with_name(f"{path.name}_{ending}.png"), dpi=110)
        for heading, (ending, figure) in drawn.items()
        if figure is not None
    }


def figure_5(runs: Runs, below: float) -> Figure:
    """Return bars of the defended rounds (a) and MA by round, the mean over the runs of each label (b)."""
    counts = defended_rounds(runs, below)
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(9.5, max(3.4, 0.34 * len(counts) + 1.2)), width_ratios=[1, 1.25], layout="constrained"
        )
        colours = [COLOURS[number % 10] for number in range(len(counts))]
        places = np.arange(len(counts))
        left.barh(places, counts["defended"], xerr=counts["spread"].fillna(0.0), color=colours, ecolor="0.4")
        for place, value in zip(places, counts["defended"], strict=True):
            left.text(
                value, place, f" {value:g}" if value == round(value) else f" {value:.1f}", va="center", fontsize=8
            )
        left.set_yticks(places, counts["label"])
        left.invert_yaxis()
        left.set(title=f"rounds with BA below {below:g} %", xlim=(0, 1.12 * counts["rounds"].max()))
        for number, (label, folders) in enumerate(runs.items()):
            curve = _mean_by_round(folders, "MA")
            look: Any = {"color": COLOURS[number % 10], "linestyle": LINES[number // 10 % len(LINES)]}
            right.plot(curve.index, curve.to_numpy(), label=label, linewidth=1.5, **look)
        _frame(right, "main-task accuracy (MA), %")
        right.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def sub_models(runs: Runs) -> pd.DataFrame:
    """Return MA and BA of the benign and the repaired sub-model of every round that has one, and of the global model.

    Columns are label, seed, round, model, MA, BA; there is no row of a label without such sub-models.
    """
    rows = []
    for label, folders in runs.items():
        for folder in folders:
            for line in folder.rounds():
                models = (line.get("inspection") or {}).get("models", {})
                parts = {name: models[name] for name in SUB_MODELS if name in models}
                at = {"label": label, "seed": folder.config().run.seed, "round": line["round"]}
                for name, part in ({"global": line} | parts).items() if parts else ():
                    rows.append(at | {"model": name, "MA": part["MA"], "BA": part["BA"]})
    return pd.DataFrame(rows).astype({"MA": float, "BA": float}) if rows else pd.DataFrame()


def figure_6(found: pd.DataFrame) -> Figure:
    """Return MA (a) and BA (b) by round of :func:`sub_models`, the mean over seeds, a row for each label.

    Points are rounds: a sub-model is missing where nobody was suspect, or no repair held.
    """
    labels = list(dict.fromkeys(found["label"]))
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(
            len(labels), 2, figsize=(9, 0.6 + 2.7 * len(labels)), squeeze=False, layout="constrained"
        )
        for row, label in zip(panels, labels, strict=True):
            means = found[found["label"] == label].groupby(["model", "round"])[["MA", "BA"]].mean()
            for axes, measure, words in zip(row, ("MA", "BA"), ("main-task", "backdoor"), strict=True):
                for name, title in SUB_MODELS.items():
                    if name in means.index.get_level_values("model"):
                        curve = means.loc[name][measure]
                        axes.plot(
                            curve.index, curve.to_numpy(), marker=".", markersize=4, linewidth=1.2, label=title,
                            **LOOKS[name],
                        )  # fmt: skip
                _frame(axes, f"{label}: {words} accuracy ({measure}), %")
        panels[0][0].legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def recovered_triggers(runs: Runs) -> Figure | None:
    """Return the triggers that were recovered in some rounds, mask on the left, pattern on the right; a row a label."""
    found = {label: _pictures(folders[0]) for label, folders in runs.items()}
    found = {label: pictures for label, pictures in found.items() if pictures}
    if not found:
        return None
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(
            len(found), SHOWN, figsize=(1.25 * SHOWN + 1.0, 0.3 + 0.95 * len(found)), squeeze=False,
            layout="constrained",
        )  # fmt: skip
        for row, (label, pictures) in zip(panels, found.items(), strict=True):
            for axes in row:
                axes.set_axis_off()
            chosen = np.unique(np.linspace(0, len(pictures) - 1, SHOWN).round().astype(int))
            for axes, number in zip(row, chosen, strict=False):
                server_round, path = pictures[number]
                with Image.open(path) as picture:
                    axes.imshow(np.asarray(picture), interpolation="nearest")
                axes.set_title(f"{server_round}", fontsize=7)
            row[0].text(-0.1, 0.5, label, rotation=90, va="center", ha="right", fontsize=6, transform=row[0].transAxes)
    return figure


def _pictures(folder: RunFolder) -> list[tuple[int, Path]]:
    """Return the recovered triggers of a run by round; those of rounds that it has not are of one that was stopped."""
    last = folder.rounds()[-1]["round"]
    found = sorted((int(path.name.partition("-")[0]), path) for path in (folder.path / "recovered").glob("[0-9]*.png"))
    return [(number, path) for number, path in found if number <= last]


def _mean_by_round(folders: Sequence[RunFolder], measure: str) -> "pd.Series[float]":
    lines = [line for folder in folders for line in folder.rounds() if line["round"] > 0]
    values = pd.Series([line[measure] for line in lines], dtype=float)
    return values.groupby([line["round"] for line in lines]).mean()


def _frame(axes: Axes, title: str) -> None:
    axes.set(title=title, xlabel="round", ylim=(-3, 103))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
