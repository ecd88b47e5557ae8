"""Pictures of federated GANs: what their generators make, their scores by round, and the weight of who attacks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from fedsec.metrics.mosaics import corner, square
from fedsec.report.figures import COLOURS, LEGEND_COLUMNS, LINES, STYLE, samples
from fedsec.runs.measures import measured
from fedsec.runs.record import RunFolder

Curve = dict[int, float]

PICTURES, SHOWN = 6, 4
"""Pictures in a row, and images along each side of one."""


def generated_images(runs: Mapping[str, Sequence[RunFolder]]) -> Figure:
    """Return real images, stamped ones, and beside them what the last generator of each label's first run makes.

    Args:
        runs: the runs under each label.
    """
    first = next(iter(runs.values()))[0]
    pictures = {
        name: square(images, SHOWN) for name, images in zip(("real", "with the trigger"), samples(first), strict=True)
    }
    pictures |= {label: last for label, folders in runs.items() if (last := _last_picture(folders[0])) is not None}
    rows = -(-len(pictures) // PICTURES)
    columns = min(len(pictures), PICTURES)
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(
            rows, columns, figsize=(1.7 * columns, 2.0 * rows), squeeze=False, layout="constrained"
        )
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, (name, picture) in zip(grid.flat, pictures.items(), strict=False):
            axes.imshow(picture, cmap="gray" if picture.ndim == 2 else None, vmin=0, vmax=255)
            axes.set_title(name, fontsize=7)
    return figure


def generator_rounds(runs: Mapping[str, Sequence[RunFolder]]) -> Figure:
    """Return FID and the loss of the clients by round, and the weight of the malicious ones, a line for each label.

    Args:
        runs: the runs under each label; several (of different seeds) are averaged, with their range shaded.
    """
    drawn: tuple[tuple[str, Callable[[RunFolder], Curve]], ...] = (
        ("Frechet distance (FID)", _scores),
        ("share of a malicious client in the average", lambda folder: _clients(folder, "weight", "malicious")),
        ("loss: malicious minus honest clients", _loss_gap),
    )
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(1, len(drawn), figsize=(4.0 * len(drawn), 3.6), layout="constrained")
        for axes, (title, read) in zip(panels, drawn, strict=True):
            for number, (label, folders) in enumerate(runs.items()):
                look = {"color": COLOURS[number % 10], "linestyle": LINES[number // 10 % len(LINES)]}
                _draw(axes, [read(folder) for folder in folders], label, look)
            axes.set(title=title, xlabel="round")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        lines, labels = panels[0].get_legend_handles_labels()
        figure.legend(lines, labels, frameon=False, fontsize=8, loc="outside lower center", ncols=LEGEND_COLUMNS)
    return figure


def _draw(axes: Axes, curves: Sequence[Curve], label: str, look: Mapping[str, Any]) -> None:
    rounds = sorted(set.intersection(*(set(curve) for curve in curves)))
    if not rounds:
        return
    values = np.array([[curve[r] for r in rounds] for curve in curves])
    axes.plot(rounds, values.mean(axis=0), label=label, linewidth=1.4, **look)
    if len(values) > 1:
        axes.fill_between(rounds, values.min(axis=0), values.max(axis=0), color=look["color"], alpha=0.15, linewidth=0)


def _scores(folder: RunFolder) -> Curve:
    found = {record["round"]: measured(record)["FID"] for record in folder.rounds()}
    return {r: value for r, value in found.items() if r > 0 and not np.isnan(value)}


def _clients(folder: RunFolder, key: str, role: str) -> Curve:
    """Return the mean of what the clients of a role have in each round."""
    curve: Curve = {}
    for record in folder.rounds()[1:]:
        values = [client[key] for client in record["clients"] if client["role"] == role and client[key] is not None]
        if values:
            curve[record["round"]] = float(np.mean(values))
    return curve


def _loss_gap(folder: RunFolder) -> Curve:
    theirs, ours = (_clients(folder, "loss", role) for role in ("malicious", "honest"))
    return {r: theirs[r] - ours[r] for r in theirs.keys() & ours.keys()}


def _last_picture(folder: RunFolder) -> NDArray[np.uint8] | None:
    """Return the first images of the newest picture of a run, 4 along each side, or ``None`` if there is none."""
    pictures = sorted((folder.path / "generated").glob("*.png"))
    if not pictures:
        return None
    with Image.open(pictures[-1]) as picture:
        return corner(np.asarray(picture), SHOWN, SHOWN)
