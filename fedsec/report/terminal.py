"""Tables on the terminal, in which no number is ever cut."""

from collections.abc import Iterator

import pandas as pd
from rich.console import Console
from rich.table import Table

BETWEEN, EDGES = 3, 4
"""Characters between two columns, and at the edges of a table, which one that is too wide goes without."""


def show(console: Console, title: str, table: pd.DataFrame) -> None:
    """Print a table of texts; where it is too wide, in parts below each other that repeat the settings."""
    edge = _total(table) + EDGES <= console.width
    for number, columns in enumerate(_parts(table, console.width - EDGES if edge else console.width)):
        shown = Table(title=None if number else title, title_justify="left", show_edge=edge, pad_edge=edge)
        for column in columns:
            if _is_setting(column):
                shown.add_column(column.rpartition(".")[2], overflow="fold")
            else:
                width = _width(table, column)
                shown.add_column(_heading(column), justify="right", no_wrap=True, min_width=width)
        for row in table[columns].to_numpy().tolist():
            shown.add_row(*row)
        console.print(shown, highlight=False, markup=False, crop=False)


def _parts(table: pd.DataFrame, width: int) -> Iterator[list[str]]:
    settings = [column for column in table.columns if _is_setting(column)]
    # Settings wrap, numbers do not: half of the terminal is for the settings if they need it.
    left = min(_total(table[settings]), width // 2)
    part, used = list(settings), left
    for column in table.columns.difference(settings, sort=False):
        needed = BETWEEN + _width(table, column)
        if used + needed > width and len(part) > len(settings):
            yield part
            part, used = list(settings), left
        part.append(column)
        used += needed
    yield part


def _total(table: pd.DataFrame) -> int:
    return sum(_width(table, column) + BETWEEN for column in table.columns) - BETWEEN


def _is_setting(column: str) -> bool:
    return "." in column


def _heading(column: str) -> str:
    """Return a heading on two lines, ``false`` above ``alarms``."""
    return "\n".join(column.rsplit(" ", 1))


def _width(table: pd.DataFrame, column: str) -> int:
    heading = column.rpartition(".")[2] if _is_setting(column) else _heading(column)
    return max(map(len, [*heading.split("\n"), *table[column]]))
