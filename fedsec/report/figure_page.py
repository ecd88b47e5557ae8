"""A figure of a paper on disk: the picture, its numbers, and a page that says how it was made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure as Drawing

from fedsec.report.figures import save
from fedsec.report.gan_figures import draw_grid, draw_samples, draw_scores, in_parts
from fedsec.report.tables import markdown
from fedsec.runs.config import RunConfig
from fedsec.runs.figure import Figure
from fedsec.runs.figure_data import ClientSamples, GanCourse, GanScores, Grid

REAL = "real images"
"""In the place of a client: what as many real images of the data set teach."""

DOTS = 100
"""Per inch: a mosaic has no more to show, and stays a small file."""


@dataclass(frozen=True, slots=True)
class FigurePage:
    """What is written of a figure.

    Attributes:
        drawing: the picture.
        numbers: tables by the ending of their files' names; "" is the first.
        shown: a table of texts for people; empty for none.
        notes: paragraphs below it.
    """

    drawing: Drawing
    numbers: Mapping[str, pd.DataFrame]
    shown: pd.DataFrame
    notes: tuple[str, ...]


def samples_page(figure: Figure, samples: Sequence[ClientSamples]) -> FigurePage:
    """Return the page of a ``"samples"`` figure."""
    rows = [{"client": one.client, **dict(zip(one.classes, one.class_counts, strict=True))} for one in samples]
    note = (
        f"Up to {figure.images} images of each client, in order of their classes and equally far apart: each stands "
        "for as many of the client's examples as the next. On the right, how many examples of each class it holds."
    )
    numbers = {"": pd.DataFrame(rows)}
    return FigurePage(draw_samples(samples, figure.title), numbers, pd.DataFrame(), (note, _dealt(figure.config)))


def scores_page(figure: Figure, scores: GanScores) -> FigurePage:
    """Return the page of a ``"score"`` figure."""
    courses = scores.courses
    course = [
        {"client": one.client, "step": step, "features": name, "inception_score": values[place]}
        for one in courses
        for name, values in one.scores.items()
        for place, step in enumerate(one.steps)
    ]
    numbers = {"": pd.DataFrame(course), "_losses": _losses(courses), "_gans": _finals(courses)}
    numbers["_classes"] = _classes(scores)
    notes = [
        _scores_note(scores),
        _classes_note(numbers["_classes"], figure.name),
        _gan(figure.config),
        _dealt(figure.config),
        *scores.notes,
    ]
    if figure.published:
        peak = f"The highest published Inception Score is about {figure.published.score:g}"
        notes.insert(0, f"{peak}, on the features of {figure.published.features}; scores on others do not compare.")
    shown = numbers["_gans"].map(lambda value: f"{value:.4g}" if isinstance(value, float) else str(value))
    return FigurePage(draw_scores(scores, figure.published, figure.title), numbers, shown, tuple(notes))


def grid_page(figure: Figure, grid: Grid) -> FigurePage:
    """Return the page of a ``"grid"`` figure."""
    rows = [{"client": row.client, "class": row.label, "real_images": row.held} for row in grid.rows]
    note = "Images that each client's GAN generates after its training, beside real ones of the same class and client."
    notes = (note, _gan(figure.config), _dealt(figure.config), *grid.notes)
    return FigurePage(draw_grid(grid, figure.title), {"": pd.DataFrame(rows)}, pd.DataFrame(), notes)


def write_figure(page: FigurePage, figure: Figure, out: Path, made_with: str) -> list[Path]:
    """Write ``<name>.png``, ``.md`` and tables as CSV into the folder ``out``; the drawing is closed.

    Args:
        page: what to write.
        figure: the figure.
        out: the folder; it is made where it is not there.
        made_with: a sentence on versions and code.

    Returns:
        What was written.
    """
    out.mkdir(parents=True, exist_ok=True)
    picture = save(page.drawing, out / f"{figure.name}.png", dpi=DOTS)
    written = [picture, out / f"{figure.name}.md"]
    for ending, numbers in page.numbers.items():
        written.append(out / f"{figure.name}{ending}.csv")
        numbers.to_csv(written[-1], index=False, float_format="%.5g")
    table = [markdown(page.shown)] if len(page.shown) else []
    notes = [f"{note}\n" for note in (figure.note, *page.notes, made_with) if note]
    parts = [f"# {figure.title}\n", f"![{figure.title}]({picture.name})\n", *table, *notes]
    written[1].write_text("\n".join(parts))
    return written


def _losses(courses: Sequence[GanCourse]) -> pd.DataFrame:
    tables = []
    for one in courses:
        steps, generator = in_parts(one.generator_loss)
        tables.append(
            pd.DataFrame(
                {"client": one.client, "step": steps, "generator": generator, "critic": in_parts(one.critic_loss)[1]}
            )
        )
    return pd.concat(tables, ignore_index=True)


def _finals(courses: Sequence[GanCourse]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "client": one.client,
            "features": final.features,
            "inception_score": final.inception_score,
            "fid": final.fid,
            "kid": final.kid,
            "recognised": one.recognised.overall,
            "taught": one.taught.overall,
        }
        for one in courses
        for final in one.final
    )


def _classes(scores: GanScores) -> pd.DataFrame:
    """Return a row for each client and class, and one for each class of what as many real images teach."""
    rows: list[tuple[object, ...]] = [
        (one.client, name, held, recognised, taught)
        for one in scores.courses
        for name, held, recognised, taught in zip(
            scores.classes, one.held, one.recognised.per_class, one.taught.per_class, strict=True
        )
    ]
    real = zip(scores.classes, scores.taught_by_real.per_class, strict=True)
    rows += [(REAL, name, None, None, taught) for name, taught in real]
    table = pd.DataFrame(rows, columns=["client", "class", "real_images", "recognised", "taught"])
    return table.astype({"real_images": "Int64", "recognised": float, "taught": float})


def _classes_note(classes: pd.DataFrame, name: str) -> str:
    made, real = classes[classes["client"] != REAL], classes[classes["client"] == REAL]
    means = made.groupby("class", sort=False)[["recognised", "taught"]].mean()
    columns = zip(means.index, means["recognised"], means["taught"], real["taught"], strict=True)
    each = "; ".join(
        f"{of}: {recognised:.1f}, {taught:.1f}, {by_real:.1f}" for of, recognised, taught, by_real in columns
    )
    return (
        "Of each class, recognised and taught, means over the clients, and taught by real images, in percent (nan: no "
        f"image to measure with): {each}. Those of each client are in {name}_classes.csv."
    )


def _scores_note(scores: GanScores) -> str:
    real = ", ".join(f"{score:.2f} on {name}" for name, score in scores.real.items())
    return (
        f"Each score is of {scores.images} generated images, evenly of the classes that the client holds; as many real "
        f"test images score {real}. Recognised: percent of them that the data set's classifier takes for the class "
        "they were made for. Taught: accuracy in percent on real test images of a classifier trained on them alone; "
        f"trained on as many real images it is {scores.taught_by_real.overall:.1f}."
    )


def _gan(config: RunConfig) -> str:
    gan = config.gan
    return (
        f"Each client trains a {config.data.balance} of its own on its own images: {gan.steps} steps of "
        f"{gan.batch_size} images, Adam {gan.learning_rate:g}, width {gan.width}, noise of length {gan.latent}."
    )


def _dealt(config: RunConfig) -> str:
    """Return a sentence on how the run's data are dealt out."""
    data = config.data
    degree = {"label-skew": f" with q = {data.q:g}", "dirichlet": f" with alpha = {data.alpha:g}"}.get(
        data.partition, ""
    )
    share = f" A share of {data.share:g} of its examples is used." if data.share < 1.0 else ""
    clients = config.federation.clients
    return f"{data.dataset}, dealt to {clients} clients ({data.partition}{degree}), seed {config.run.seed}.{share}"
