"""Pictures of a sweep: cost against clients, and against parameters.

``python -m benchmarks.figures FOLDER`` reads ``sweep.json`` there, and writes ``sweep.png`` beside it.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

STYLES = {"fedsec": "-", "Flower": "--"}


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    results = json.loads((folder / "sweep.json").read_text())
    draw(results["points"], results["environment"]).savefig(folder / "sweep.png", dpi=120)


def draw(points: list[dict[str, Any]], environment: str) -> Figure:
    """Return a figure of two diagrams: the seconds of every rule against n at one d, and against d at one n."""
    figure = Figure(figsize=(11.0, 5.5), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    most = max(point["d"] for point in points)
    fewer = next((point["n"] for point in points if point["d"] != most), points[0]["n"])
    lines(left, [point for point in points if point["d"] == most], "n")
    lines(right, [point for point in points if point["n"] == fewer], "d")
    left.set(title=f"{most:,} parameters", xlabel="clients", ylabel="seconds")
    right.set(title=f"{fewer} clients", xlabel="parameters")
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle(environment, fontsize=8)
    return figure


def lines(axes: Axes, points: list[dict[str, Any]], against: str) -> None:
    """Draw a line for each rule, ours and Flower's, in the same colour."""
    colours = dict(zip(sorted({point["rule"] for point in points}), mpl.color_sequences["tab10"], strict=False))
    for rule, colour in colours.items():
        for who, style in STYLES.items():
            found = sorted(
                (point[against], statistics.median(point["seconds"]))
                for point in points
                if (point["rule"], point["who"]) == (rule, who)
            )
            if found:
                axes.plot(*zip(*found, strict=True), style, color=colour, marker=".", label=f"{rule}, {who}")
    axes.set(xscale="log", yscale="log")
    axes.grid(alpha=0.3)


if __name__ == "__main__":
    main()
