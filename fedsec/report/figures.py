"""Pictures of runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from fedsec.runs.record import RunFolder

COLOURS = plt.get_cmap("tab10").colors  # type: ignore[attr-defined]
LINES = ("solid", "dashed", "dashdot")
FEW, LEGEND_COLUMNS = 6, 3
"""So many labels find room inside the picture; more stand below it, in columns."""
STYLE: Any = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9, "axes.titlesize": 10}


def overview(runs: Mapping[str, Sequence[RunFolder]]) -> Figure:
    """Return clean and triggered images above, and MA and BA by round below, a line for each label.

    Args:
        runs: the runs under each label; several (of different seeds) are averaged, with their range shaded.
    """
    first = next(iter(runs.values()))[0]
    with plt.rc_context(STYLE):
        below = 0.2 * -(-len(runs) // LEGEND_COLUMNS) if len(runs) > FEW else 0.0
        figure = plt.figure(figsize=(9, 5.4 + below), layout="constrained")
        parts: Any = figure.subfigures(2, 1, height_ratios=[1.5, 3.9 + below])
        top, bottom = parts
        _draw_samples(top, *samples(first), _what_samples(first))
        left, right = bottom.subplots(1, 2, sharex=True)
        start = first.config().attack.start_round
        for number, (label, folders) in enumerate(runs.items()):
            look = {"color": COLOURS[number % 10], "linestyle": LINES[number // 10 % len(LINES)]}
            _draw_measure(left, folders, "MA", label, look)
            _draw_measure(right, folders, "BA", label, look)
        for axes, title in ((left, "main-task accuracy (MA), %"), (right, "backdoor accuracy (BA), %")):
            axes.set(title=title, xlabel="round", ylim=(-3, 103))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            if start > 1:
                axes.axvline(start - 0.5, color="0.6", linestyle=":", linewidth=1, label="the attack begins")
        _draw_legend(bottom, left)
    return figure


def samples_of(folder: RunFolder) -> Figure:
    """Return clean and triggered test images of a recorded run."""
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(9, 2.2), layout="constrained")
        _draw_samples(figure, *samples(folder), _what_samples(folder))
    return figure


def partition(counts: NDArray[np.int64], classes: Sequence[str], malicious: Sequence[int], title: str = "") -> Figure:
    """Return who holds how many examples of which class (thesis on GAN balancing, figures 5.1 to 5.3).

    Args:
        counts: (clients, classes) numbers of examples.
        classes: a name for each class.
        malicious: clients to mark.
        title: which partition this is, if there are several.
    """
    clients = len(counts)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(max(5.0, 0.35 * clients + 2.5), 3.4), layout="constrained")
        left = np.zeros(clients)
        for number, name in enumerate(classes):
            axes.bar(
                range(clients), counts[:, number], bottom=left, label=name, color=plt.get_cmap("tab20")(number % 20)
            )
            left += counts[:, number]
        labels = [f"{client}\nmalicious" if client in malicious else str(client) for client in range(clients)]
        axes.set_xticks(range(clients), labels if clients <= 20 else [""] * clients, fontsize=7)
        axes.set(xlabel="client", ylabel="examples", title=title)
        axes.legend(title="class", frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def partition_of(folder: RunFolder, title: str = "") -> Figure:
    """Return :func:`partition` for a recorded run."""
    environment = folder.environment()
    return partition(np.array(environment["class_counts"]), environment["classes"], environment["malicious"], title)


def save(figure: Figure, path: Path, dpi: int = 140) -> Path:
    """Write a figure as PNG and close it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)
    plt.close(figure)
    return path


def _draw_measure(axes: Axes, folders: Sequence[RunFolder], measure: str, label: str, look: Mapping[str, Any]) -> None:
    curves = [{record["round"]: record[measure] for record in folder.rounds()} for folder in folders]
    rounds = sorted(set.intersection(*(set(curve) for curve in curves)) - {0})
    values = np.array([[np.nan if c[r] is None else c[r] for r in rounds] for c in curves], float)
    if np.isnan(values).all():
        return
    axes.plot(rounds, values.mean(axis=0), label=label, linewidth=1.6, **look)
    if len(values) > 1:
        axes.fill_between(rounds, values.min(axis=0), values.max(axis=0), color=look["color"], alpha=0.15, linewidth=0)


def _draw_legend(figure: Any, axes: Axes) -> None:
    lines, labels = axes.get_legend_handles_labels()
    if len(labels) > FEW + 1:
        figure.legend(lines, labels, frameon=False, fontsize=8, loc="outside lower center", ncols=LEGEND_COLUMNS)
    else:
        axes.legend(frameon=False, fontsize=8, loc="lower right")


def samples(folder: RunFolder) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a few images of a recorded run, clean and with the trigger, (N, C, H, W) each."""
    with np.load(folder.path / "samples.npz", allow_pickle=False) as images:
        return images["clean"], images["triggered"]


def _what_samples(folder: RunFolder) -> str:
    attack = folder.config().attack
    if attack.kind == "stamp":
        return "images"
    if attack.kind != "untargeted-backdoor":
        return "test images of the source class" if attack.sources == "one" else "test images"
    return "test images of the source classes" if attack.labels == "pairs" else "test images"


def _draw_samples(figure: Any, clean: NDArray[np.uint8], triggered: NDArray[np.uint8], title: str) -> None:
    if len(clean) == 0:
        return
    for row, images in zip(figure.subplots(2, len(clean), squeeze=False), (clean, triggered), strict=True):
        for axes, image in zip(row, images, strict=True):
            picture = image.transpose(1, 2, 0)
            axes.imshow(picture.squeeze(), cmap="gray" if picture.shape[2] == 1 else None, vmin=0, vmax=255)
            axes.set_axis_off()
    figure.suptitle(f"{title}: clean, and with the trigger", fontsize=9)
