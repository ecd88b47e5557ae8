"""Figures 6 to 11 of the paper on rebuilding a class by a GAN, for any runs of that attack."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from fedsec.metrics.mosaics import SIDE, corner, square
from fedsec.report.figures import COLOURS, LINES, STYLE, samples, save
from fedsec.runs.record import RunFolder

Runs = Mapping[str, Sequence[RunFolder]]
Lines = list[dict[str, Any]]

STEPS, SHOWN, GRIDS = 10, 3, 4
"""Rounds in a strip, images of each of them, and grids in a row."""

SCORES = ("accuracy", "precision_with_extra", "recall_with_extra", "f1_with_extra")
MOST_SCORES = 4
"""So many labels' scores are drawn in panels of their own."""


def reconstruction_pictures(runs: Runs, path: Path) -> dict[str, Path]:
    """Write the pictures beside ``path``, whose names begin with its; return them by heading.

    Args:
        runs: the runs under each label; curves are of every one, pictures of the first.
        path: without an ending.
    """
    drawn = {
        "Scores by round (Figures 7 and 9)": ("scores", scores_by_round(runs)),
        "Distance by round (Figures 8 and 9)": ("distance", distances_by_round(runs)),
        "ROC curves (Figure 6)": ("roc", roc_curves(next(iter(runs.values()))[0])),
        "What was rebuilt, by round (Figure 10)": ("strip", strips(runs)),
        "What was rebuilt at last (Figure 11)": ("grid", grids(runs)),
    }
    return {
        heading: save(figure, path.with_name(f"{path.name}_{ending}.png"), dpi=100)
        for heading, (ending, figure) in drawn.items()
        if figure is not None
    }


def scores_by_round(runs: Runs) -> Figure:
    """Return accuracy and macro precision, recall and F1 by round, the attack's start marked (Figures 7 and 9).

    The macro scores are over every class that occurs, the extra one among them, which is how the paper's fall.
    """
    shown = dict(list(runs.items())[:MOST_SCORES])
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(
            1, len(shown), figsize=(1.0 + 4.4 * len(shown), 3.4), squeeze=False, sharey=True, layout="constrained"
        )
        for axes, (label, folders) in zip(panels[0], shown.items(), strict=True):
            for number, folder in enumerate(folders):
                lines = _measured(folder)
                for score, colour in zip(SCORES, COLOURS, strict=False):
                    values = [line["reconstruction"][score] for line in lines]
                    name = score.removesuffix("_with_extra") if number == 0 else None
                    axes.plot(_numbers(lines), values, color=colour, label=name, linewidth=1.2, alpha=_faint(folders))
                _mark_start(axes, lines, "the attack begins" if number == 0 else None)
            axes.set(title=label, xlabel="round", ylim=(-0.02, 1.02))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        panels[0][0].legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def distances_by_round(runs: Runs) -> Figure:
    """Return the paper's distance by round of the attack, and how many of the images are recognised (Figures 8, 9)."""
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
        for number, (label, folders) in enumerate(runs.items()):
            look: Any = {"color": COLOURS[number % 10], "linestyle": LINES[number // 10 % len(LINES)]}
            for place, folder in enumerate(folders):
                lines = [line for line in _measured(folder) if "rebuilt" in line["reconstruction"]]
                rebuilt = [line["reconstruction"]["rebuilt"] for line in lines]
                name = label if place == 0 else None
                rounds = _numbers(lines)
                left.plot(rounds, [of["distances"]["of_means"] for of in rebuilt], label=name, linewidth=1.2, **look)
                right.plot(rounds, [of["recognised"] for of in rebuilt], label=name, linewidth=1.2, **look)
        left.set(title="squared distance of the averages, per pixel", xlabel="round", yscale="log")
        right.set(title="taken for the victim's class, %", xlabel="round", ylim=(-3, 103))
        left.legend(frameon=False, fontsize=7)
    return figure


def roc_curves(folder: RunFolder) -> Figure | None:
    """Return each class's ROC curve with its AUC: of the first model, of that which set the attack off, of the last.

    A federation of one class has none.
    """
    lines = [line for line in _measured(folder) if line["reconstruction"].get("roc")]
    if not lines:
        return None
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(
            1, len(lines), figsize=(3.6 * len(lines), 3.5), squeeze=False, sharey=True, layout="constrained"
        )
        for axes, line in zip(panels[0], lines, strict=True):
            found = line["reconstruction"]
            for number, (label, (false, true)) in enumerate(found["roc"].items()):
                name = f"{label}: {found['auc'][label]:.3f}"
                axes.plot(false, true, color=COLOURS[number % 10], linewidth=1.1, label=name)
            axes.plot([0, 1], [0, 1], color="0.7", linestyle=":", linewidth=1)
            axes.set(title=f"round {line['round']}, accuracy {found['accuracy']:.3f}", xlabel="false positive rate")
            axes.legend(frameon=False, fontsize=6.5, title="class: AUC", title_fontsize=7, loc="lower right")
        panels[0][0].set_ylabel("true positive rate")
    return figure


def strips(runs: Runs) -> Figure | None:
    """Return a few images of rounds equally far apart, a row for each label (Figure 10)."""
    rows = {label: _pictures(folders[0]) for label, folders in runs.items()}
    rows = {label: found for label, found in rows.items() if found}
    if not rows:
        return None
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(
            len(rows),
            STEPS,
            figsize=(0.85 * STEPS, 0.4 + SHOWN * 0.85 * len(rows)),
            squeeze=False,
            layout="constrained",
        )
        for line, (label, found) in zip(grid, rows.items(), strict=True):
            chosen = np.unique(np.linspace(0, len(found) - 1, STEPS).round().astype(int))
            for axes in line:
                axes.set_axis_off()
            for axes, number in zip(line, chosen, strict=False):
                server_round, path = found[number]
                _show(axes, _corner(path, SHOWN, 1))
                axes.set_title(f"{server_round}", fontsize=7)
            line[0].text(
                -0.15, 0.5, label, rotation=90, va="center", ha="right", fontsize=7, transform=line[0].transAxes
            )
    return figure


def grids(runs: Runs) -> Figure | None:
    """Return real images of the class, and of each label what its first run's adversary has at last (Figure 11)."""
    last = {label: found[-1] for label, folders in runs.items() if (found := _pictures(folders[0]))}
    if not last:
        return None
    real = samples(next(iter(runs.values()))[0])[0]
    side = SIDE // 2
    pictures = {"real test images": square(real, side)}
    pictures |= {f"{label}, round {number}": _corner(path, side, side) for label, (number, path) in last.items()}
    rows, columns = -(-len(pictures) // GRIDS), min(len(pictures), GRIDS)
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(
            rows, columns, figsize=(2.3 * columns, 2.5 * rows), squeeze=False, layout="constrained"
        )
        for axes in panels.flat:
            axes.set_axis_off()
        for axes, (name, picture) in zip(panels.flat, pictures.items(), strict=False):
            _show(axes, picture)
            axes.set_title(name, fontsize=7)
    return figure


def _measured(folder: RunFolder) -> Lines:
    return [line for line in folder.rounds() if line["reconstruction"]]


def _numbers(lines: Lines) -> list[int]:
    return [line["round"] for line in lines]


def _faint(folders: Sequence[RunFolder]) -> float:
    return 1.0 if len(folders) == 1 else 0.6


def _mark_start(axes: Axes, lines: Lines, name: str | None) -> None:
    begun = [line["round"] for line in lines if line["reconstruction"]["began"]]
    if begun:
        axes.axvline(begun[0] - 0.5, color="0.5", linestyle=":", linewidth=1, label=name)


def _pictures(folder: RunFolder) -> list[tuple[int, Path]]:
    """Return the pictures of a run, by round; those of a round that was done again are its last ones."""
    last = folder.rounds()[-1]["round"]
    found = sorted((int(path.stem), path) for path in (folder.path / "generated").glob("[0-9]*.png"))
    return [(number, path) for number, path in found if number <= last]


def _corner(path: Path, rows: int, columns: int) -> NDArray[np.uint8]:
    """Return the first images of a picture."""
    with Image.open(path) as picture:
        return corner(np.asarray(picture), rows, columns)


def _show(axes: Axes, picture: NDArray[np.uint8]) -> None:
    axes.imshow(picture, cmap="gray" if picture.ndim == 2 else None, vmin=0, vmax=255, interpolation="nearest")
