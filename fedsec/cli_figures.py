"""``fedsec reproduce`` for a figure file: measure what it shows, and draw it."""

import contextlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from fedsec.runs.config import Flat
from fedsec.runs.loading import ConfigError

if TYPE_CHECKING:  # what draws takes seconds to import, and most commands need none of it
    from fedsec.report.figure_page import FigurePage
    from fedsec.runs.figure import Figure

Tell = Callable[[str], None]


def reproduce_figure(
    file: Path, overrides: Flat, console: Console, *, reduced: bool, out: Path | None, quiet: bool, as_json: bool
) -> None:
    """Draw the figure in a file.

    Args:
        file: the figure file.
        overrides: values by dotted key, put over the file's.
        console: where to say how it goes.
        reduced: whether to take the file's reduced setting.
        out: folder to write to; by default one beside the runs.
        quiet: whether to show no progress, and no notes that the page has.
        as_json: whether to print the numbers as JSON at the end.

    Raises:
        ConfigError: the file or an override cannot be used.
        DamagedError: a generator on disk is not what was written.
        DataError: the data cannot be had.
        ScoreError: what is generated cannot be scored.
        WeightsError: Inception's file is named and cannot be used.
    """
    from fedsec.report.figure_page import write_figure
    from fedsec.report.terminal import show
    from fedsec.runs.figure import load_figure
    from fedsec.runs.record import runs_folder
    from fedsec.server_app import checked

    figure = load_figure(file, overrides, reduced=reduced)
    checked(figure.config, source=str(file))
    with contextlib.nullcontext() if quiet else console.status(figure.title) as status:

        def tell(text: str) -> None:
            if status is not None:
                status.update(f"{figure.title}: {text}")

        page = _pages()[figure.kind](figure, tell)
    target = out or runs_folder(figure.config) / figure.name
    written = write_figure(page, figure, target, _made_with())
    if len(page.shown):
        show(console, figure.title, page.shown)
    for note in () if quiet else page.notes:
        console.print(note, style="dim", highlight=False, markup=False)
    console.print(f"figure: {target.absolute()}: {', '.join(path.name for path in written)}", soft_wrap=True)
    if as_json:
        tables = {f"{figure.name}{ending}": table for ending, table in page.numbers.items()}
        print(json.dumps({name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}))


WHY_NOT_SEEDS = "give --set run.seed=1 for another one"
WHY_NOT = {"engine": "of which nothing but clients' GANs is trained, in this process; leave it out"}


def refuse_options(file: Path, **given: object) -> None:
    """Raise an error for options that a table has and a figure has not.

    Args:
        file: the figure file.
        **given: the options by name, ``None`` where they are not given.

    Raises:
        ConfigError: one of them was given.
    """
    wrong = [name for name, value in given.items() if value is not None]
    if wrong:
        raise ConfigError(
            [f"--{wrong[0]}: this is a figure of one run, {WHY_NOT.get(wrong[0], WHY_NOT_SEEDS)}"], str(file)
        )


def _pages() -> "Mapping[str, Callable[[Figure, Tell], FigurePage]]":
    """Return what measures and lays out each kind of figure."""
    from fedsec.figures import client_samples, gan_scores, generated_grid
    from fedsec.report.figure_page import grid_page, samples_page, scores_page

    return {
        "samples": lambda figure, tell: samples_page(figure, client_samples(figure)),
        "score": lambda figure, tell: scores_page(figure, gan_scores(figure, tell)),
        "grid": lambda figure, tell: grid_page(figure, generated_grid(figure, tell)),
    }


def _made_with() -> str:
    from fedsec.description import versions
    from fedsec.scenario import code_hash

    named = ", ".join(f"{name} {version}" for name, version in versions().items() if version)
    return f"Made with {named}; code {code_hash()}."
