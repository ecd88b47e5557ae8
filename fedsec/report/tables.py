"""Measured tables with the published number beside ours."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from fedsec.runs.table import Published, Table

MEASURES = ("MA", "BA")
MEANS = ("floor", "caught", "false_alarms", "seconds_per_round")

HEADINGS = {
    "MA": "MA",
    "BA": "BA",
    "floor": "BA floor",
    "caught": "caught",
    "false_alarms": "false alarms",
    "seconds_per_round": "s / round",
}

LEGEND = (
    "MA: percent of clean test images classified right. BA: percent of triggered test images of the source class "
    "classified as the target. BA floor: BA of the same setting with nobody attacking. Caught, false alarms: percent "
    "of the malicious and of the honest client-rounds that got weight 0. Spread: standard deviation over the seeds."
)


def summarise(runs: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """Return one row for each combination of values on ``axes``: means, spreads and the number of runs.

    Columns are the axes, ``runs``, ``MA``, ``MA_spread``, ``BA``, ``BA_spread``, and the means of ``floor``,
    ``caught``, ``false_alarms`` and ``seconds_per_round``. A spread is the sample standard deviation over the
    seeds, NaN for one run.
    """
    groups = runs.groupby(list(axes), sort=False, dropna=False)
    columns: dict[str, Any] = {"runs": groups.size()}
    for measure in MEASURES:
        columns[measure] = groups[measure].mean()
        columns[f"{measure}_spread"] = groups[measure].std(ddof=1)
    columns |= {name: groups[name].mean() for name in MEANS}
    return pd.DataFrame(columns).reset_index()


def with_published(summary: pd.DataFrame, published: Iterable[Published], axes: Sequence[str]) -> pd.DataFrame:
    """Add ``<measure>_published``, ``<measure>_published_spread`` and ``<measure>_difference`` (ours minus theirs)."""
    cells = {tuple(entry.at[axis] for axis in axes): entry.numbers for entry in published}
    keys = list(summary[list(axes)].itertuples(index=False, name=None))
    for measure in MEASURES:
        pairs = [cells.get(key, {}).get(measure, (float("nan"), float("nan"))) for key in keys]
        summary[f"{measure}_published"] = [mean for mean, _ in pairs]
        summary[f"{measure}_published_spread"] = [spread for _, spread in pairs]
        summary[f"{measure}_difference"] = summary[measure] - summary[f"{measure}_published"]
    return summary


def table_of(runs: pd.DataFrame, table: Table) -> pd.DataFrame:
    """Return the attacked cells of a table, in its order, with the published numbers."""
    axes = list(table.axes)
    summary = with_published(summarise(runs[runs["attacked"]], axes), table.published, axes)
    return _in_order(summary, table.axes)


def floor_of(runs: pd.DataFrame, table: Table) -> pd.DataFrame:
    """Return the cells of a table that were run with nobody attacking."""
    axes = list(table.axes)
    return _in_order(summarise(runs[~runs["attacked"]], axes), table.axes)


def varying(runs: pd.DataFrame) -> list[str]:
    """Return the keys of the configuration in which the runs differ, the seed aside."""
    keys = [key for key in runs.columns if "." in key and key not in ("run.seed", "run.output", "run.resume")]
    return [key for key in keys if runs[key].nunique(dropna=False) > 1] or ["defense.strategy"]


def display(summary: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """Return a table of texts for people: ``97.5 ± 0.2``, the published number, the difference."""
    shown: dict[str, list[str]] = {axis: [_plain(value) for value in summary[axis]] for axis in axes}
    for measure in MEASURES:
        shown[measure] = _with_spread(summary, measure, f"{measure}_spread")
        if f"{measure}_published" in summary and summary[f"{measure}_published"].notna().any():
            shown[f"{measure} published"] = _with_spread(summary, f"{measure}_published", f"{measure}_published_spread")
            shown[f"{measure} difference"] = [_number(value, "+.1f") for value in summary[f"{measure}_difference"]]
        if measure == "BA" and summary["floor"].notna().any():
            shown[HEADINGS["floor"]] = [_number(value, ".1f") for value in summary["floor"]]
    for name in ("caught", "false_alarms"):
        shown[HEADINGS[name]] = [_number(value, ".0f", "%") for value in summary[name]]
    shown[HEADINGS["seconds_per_round"]] = [_number(value, ".2f") for value in summary["seconds_per_round"]]
    shown["runs"] = [str(count) for count in summary["runs"]]
    return pd.DataFrame(shown)


def markdown(table: pd.DataFrame) -> str:
    """Return a table of texts as markdown."""
    rows = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows) + "\n"


def _in_order(summary: pd.DataFrame, axes: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    places = {axis: {value: place for place, value in enumerate(values)} for axis, values in axes.items()}
    order = summary.apply(lambda row: tuple(places[axis].get(row[axis], -1) for axis in axes), axis=1)
    return summary.iloc[sorted(range(len(summary)), key=lambda i: order.iloc[i])].reset_index(drop=True)


def _with_spread(summary: pd.DataFrame, mean: str, spread: str) -> list[str]:
    pairs = zip(summary[mean], summary[spread], strict=True)
    return [_number(m, ".1f") + (f" ± {s:.1f}" if pd.notna(s) else "") for m, s in pairs]


def _number(value: float, pattern: str, unit: str = "") -> str:
    return f"{value:{pattern}}{unit}" if pd.notna(value) else "-"


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
