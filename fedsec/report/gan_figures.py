"""Figures 5.1 to 5.8 of the thesis on GAN balancing: what clients hold, how their GANs learn, what those generate."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fedsec.metrics.mosaics import mosaic
from fedsec.report.figures import COLOURS, STYLE
from fedsec.runs.figure import PublishedScore
from fedsec.runs.figure_data import ClientSamples, GanCourse, GanScores, Grid

PARTS = 100
"""A curve of losses has so many points at most, each the mean of as many steps as the next."""

INCH = 0.36
"""Side of a small image in a mosaic."""


def draw_samples(samples: Sequence[ClientSamples], title: str) -> Figure:
    """Return a row of images for each client, and beside it how many it holds of each class (figures 5.1 to 5.3)."""
    columns = max(1, *(len(one.images) for one in samples))
    counts = np.array([one.class_counts for one in samples])
    ratios = [INCH * columns, 0.34 * counts.shape[1] + 0.6]
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(sum(ratios) + 0.8, 1.0 + INCH * len(samples)), width_ratios=ratios, layout="constrained"
        )
        _show_mosaic(left, [one.images for one in samples], columns, [str(one.client) for one in samples])
        left.set(ylabel="client", title="images that it holds, in order of their classes")
        _show_counts(right, counts, samples[0].classes)
        figure.suptitle(title, fontsize=10)
    return figure


def draw_scores(scores: GanScores, published: PublishedScore | None, title: str) -> Figure:
    """Return the Inception Score over the training of the clients' GANs, and their losses (figures 5.4 to 5.6)."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            1, len(scores.real) + 1, figsize=(4.2 * (len(scores.real) + 1), 3.4), layout="constrained"
        )
        for place, (features, real) in zip(axes, scores.real.items(), strict=False):
            _show_course(place, scores.courses, features, real)
            _show_published(place, features, published)
            place.legend(frameon=False, fontsize=7)
        _show_losses(axes[-1], scores.courses)
        figure.suptitle(title, fontsize=10)
    return figure


def draw_grid(grid: Grid, title: str) -> Figure:
    """Return images of each client and class, real ones on the left, generated on the right (figures 5.7 and 5.8)."""
    columns = [max(1, *(len(row.real) for row in grid.rows)), max(1, *(len(row.made) for row in grid.rows))]
    several = len({row.label for row in grid.rows}) > 1
    names = [f"client {row.client}" + (f", {row.label}" if several else "") + f": {row.held}" for row in grid.rows]
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(
            1,
            2,
            figsize=(INCH * sum(columns) + 2.2, 0.8 + INCH * len(names)),
            width_ratios=columns,
            layout="constrained",
        )
        _show_mosaic(left, [row.real for row in grid.rows], columns[0], names)
        _show_mosaic(right, [row.made for row in grid.rows], columns[1], [""] * len(names))
        left.set_title("real, and how many it holds")
        right.set_title("generated")
        figure.suptitle(title, fontsize=10)
    return figure


def in_parts(losses: NDArray[np.float32], parts: int = PARTS) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the last step of each part of a training, and the mean loss in it; there are at most ``parts`` of them."""
    pieces = np.array_split(np.asarray(losses, np.float64), min(parts, len(losses)))
    return np.cumsum([len(piece) for piece in pieces]).astype(float), np.array([piece.mean() for piece in pieces])


def _show_course(axes: Axes, courses: Sequence[GanCourse], features: str, real: float) -> None:
    for course in courses:
        axes.plot(course.steps, course.scores[features], color=COLOURS[0], alpha=0.25, linewidth=0.8)
    mean = np.mean([course.scores[features] for course in courses], axis=0)
    axes.plot(courses[0].steps, mean, color=COLOURS[0], linewidth=1.8, label=f"mean of {len(courses)} clients")
    axes.axhline(real, color="0.4", linestyle="dashed", linewidth=1, label=f"as many real images, {real:.2f}")
    axes.set(title=f"Inception Score\non {features}", xlabel="step", ylim=(0.9, None))


def _show_published(axes: Axes, features: str, published: PublishedScore | None) -> None:
    if published is None:
        return
    if features.casefold().startswith(published.features.casefold()):
        label = f"published peak, {published.score:g}"
        axes.axhline(published.score, color=COLOURS[3], linestyle="dotted", linewidth=1.2, label=label)
    else:
        label = f"published peak, {published.score:g}, is of {published.features}: not to be compared"
        axes.plot([], [], " ", label=label)


def _show_losses(axes: Axes, courses: Sequence[GanCourse]) -> None:
    kinds = (("generator", [of.generator_loss for of in courses]), ("critic", [of.critic_loss for of in courses]))
    for number, (name, losses) in enumerate(kinds, start=1):
        curves = [in_parts(one) for one in losses]
        for steps, curve in curves:
            axes.plot(steps, curve, color=COLOURS[number], alpha=0.25, linewidth=0.8)
        mean = np.mean([curve for _, curve in curves], axis=0)
        axes.plot(curves[0][0], mean, color=COLOURS[number], linewidth=1.8, label=name)
    axes.set(title="loss", xlabel="step")
    axes.legend(frameon=False, fontsize=7)


def _show_mosaic(axes: Axes, rows: Sequence[NDArray[np.uint8]], columns: int, names: Sequence[str]) -> None:
    whole = mosaic(rows, columns)
    step = (whole.shape[0] + 1) / len(rows)
    axes.imshow(whole, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="equal")
    axes.set_xticks([])
    axes.set_yticks([step * (row + 0.5) for row in range(len(rows))], names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _show_counts(axes: Axes, counts: NDArray[np.int64], classes: Sequence[str]) -> None:
    axes.imshow(counts, cmap="Blues", vmin=0, aspect="auto")
    dark = counts.max() / 2
    for (row, column), count in np.ndenumerate(counts):
        axes.text(column, row, str(count), ha="center", va="center", fontsize=6, color="w" if count > dark else "0.2")
    axes.set_xticks(range(len(classes)), classes, rotation=90, fontsize=7)
    axes.set_yticks([])
    axes.set_title("examples of each class")
