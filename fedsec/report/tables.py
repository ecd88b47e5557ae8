"""Measured tables with the published number beside ours."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from fedsec.report.differences import plain, unset_as_one
from fedsec.report.records import PLAIN_AVERAGING
from fedsec.runs.measures import MEASURES, SCORES
from fedsec.runs.table import Cell, Published, Table

MEANS = ("floor", "caught", "false_alarms", "seconds_per_round", "skipped", "dropped")

HEADINGS = {
    **{name: measure.heading for name, measure in MEASURES.items()},
    "floor": "BA floor",
    "caught": "caught",
    "false_alarms": "false alarms",
    "seconds_per_round": "s / round",
    "skipped": "skipped",
    "dropped": "dropped",
}

LEGEND_FLOOR = "BA floor: BA of the same setting with nobody attacking."
LEGEND = (
    "Caught, false alarms: percent of the malicious and of the honest client-rounds that got weight 0. "
    "Spread: standard deviation over the seeds."
)
LEGEND_PAIRS = (
    "Of untargeted-backdoor: each malicious client has a source and a target of its own; BA is the percent of "
    "triggered test images of the source classified as the target, averaged over the malicious clients, or with nobody "
    "attacking over all clients."
)
LEGEND_ANY = (
    'Of untargeted-backdoor with attack.labels = "any": BA is the percent of triggered test images, of every class, '
    "that are not classified as their own; its floor is that of a model that nobody attacked, which errs too. It does "
    "not compare with any other BA."
)
LEGEND_SOURCES = (
    'With attack.sources = "all": BA is the percent of triggered test images of every class but the target that are '
    "classified as the target."
)
LEGENDS_UNTARGETED = {"pairs": LEGEND_PAIRS, "any": LEGEND_ANY}
BORROWED = f"({PLAIN_AVERAGING})"
LEGEND_BORROWED = (
    f"{BORROWED} behind a BA floor: this defense was not run with nobody attacking, for every seed; the floor is that "
    "of plain averaging in the same federation."
)
LEGEND_TROUBLE = (
    "Skipped: rounds that left the global model as it was, for want of good replies. Dropped: replies of clients that "
    "were not used. Both are means over the runs of a row."
)


def legend(
    shown: Iterable[pd.DataFrame],
    untargeted: Iterable[str] = (),
    features: Iterable[str] = (),
    sources: Iterable[str] = (),
) -> str:
    """Return what the columns and marks of the tables of texts mean.

    Args:
        shown: the tables.
        untargeted: the values of ``attack.labels`` of those of their runs that have an untargeted backdoor.
        features: the extractors on whose features the scores of generated images were measured.
        sources: the values of ``attack.sources`` of the runs.
    """
    features = sorted(set(features) - {""})
    tables = list(shown)
    floors = [floor for table in tables for floor in table.get(HEADINGS["floor"], ())]
    measures = [name for name in MEASURES if any(HEADINGS[name] in table for table in tables)]
    parts = [f"{HEADINGS[name]}: {MEASURES[name].about}." for name in measures]
    parts += [LEGEND_FLOOR] if "BA" in measures else []
    parts += [_legend_features(features)] if features else []
    parts.append(LEGEND)
    parts += [LEGEND_SOURCES] if "BA" in measures and "all" in set(sources) else []
    parts += [said for labels, said in LEGENDS_UNTARGETED.items() if labels in untargeted]
    if any(floor.endswith(BORROWED) for floor in floors):
        parts.append(LEGEND_BORROWED)
    if any(HEADINGS["skipped"] in table for table in tables):
        parts.append(LEGEND_TROUBLE)
    return " ".join(parts)


def _legend_features(features: Sequence[str]) -> str:
    return (
        f"Scores are measured on the features of {' and of '.join(features)}. Scores on other features, such as the "
        "Inception network's, on which papers measure, do not compare with them."
    )


def summarise(runs: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """Return one row for each combination of values on ``axes``, attacked or not: means, spreads, number of runs.

    Columns are the axes, ``attacked``, ``runs``, each measure and its ``_spread``, the means of ``MEANS``, and
    ``floor_from``, see :func:`fedsec.report.records.with_floor`. A spread is the sample standard deviation over the
    seeds, NaN for one run.
    """
    known = runs.assign(**{axis: unset_as_one(runs[axis]) for axis in axes})
    groups = known.groupby([*axes, "attacked"], sort=False)
    columns: dict[str, Any] = {"runs": groups.size()}
    for measure in _measures(runs):
        columns[measure] = groups[measure].mean()
        columns[f"{measure}_spread"] = groups[measure].std(ddof=1)
    columns |= {name: groups[name].mean() for name in MEANS}
    columns["floor_from"] = groups["floor_from"].agg(lambda sources: ", ".join(sorted(set(sources) - {""})))
    return pd.DataFrame(columns).reset_index()


def with_published(summary: pd.DataFrame, published: Iterable[Published], axes: Sequence[str]) -> pd.DataFrame:
    """Add ``<measure>_published``, ``<measure>_published_spread`` and ``<measure>_difference`` (ours minus theirs)."""
    cells = {tuple(entry.at[axis] for axis in axes): entry.numbers for entry in published}
    keys = list(summary[list(axes)].itertuples(index=False, name=None))
    for measure in _measures(summary):
        pairs = [cells.get(key, {}).get(measure, (float("nan"), float("nan"))) for key in keys]
        summary[f"{measure}_published"] = [mean for mean, _ in pairs]
        summary[f"{measure}_published_spread"] = [spread for _, spread in pairs]
        summary[f"{measure}_difference"] = summary[measure] - summary[f"{measure}_published"]
    return summary


def table_of(runs: pd.DataFrame, table: Table) -> pd.DataFrame:
    """Return the cells of a table in its order, with the published numbers; those that nobody attacked come last."""
    axes = list(table.axes)
    # A cell and its floor may have the same values on the axes. The published number is the cell's.
    published = [
        replace(entry, at=entry.at | {"attacked": table.config(Cell(entry.at), table.seeds[0]).attacked})
        for entry in table.published
    ]
    return _in_order(with_published(summarise(runs, axes), published, [*axes, "attacked"]), table.axes)


def display(summary: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """Return a table of texts for people: ``97.5 ± 0.2``, the published number, the difference."""
    shown: dict[str, list[str]] = {axis: [plain(value) for value in summary[axis]] for axis in axes}
    for measure in _measures(summary):
        name, digits = HEADINGS[measure], MEASURES[measure].digits
        shown[name] = _with_spread(summary, measure, f"{measure}_spread", digits)
        if f"{measure}_published" in summary and summary[f"{measure}_published"].notna().any():
            published = f"{measure}_published"
            shown[f"{name} published"] = _with_spread(summary, published, f"{published}_spread", digits)
            if measure in SCORES:
                continue  # published on other features: a difference would mean nothing
            differences = summary[f"{measure}_difference"]
            shown[f"{name} difference"] = [_number(value, f"+.{digits}f") for value in differences]
        if measure == "BA" and summary["floor"].notna().any():
            shown[HEADINGS["floor"]] = _floors(summary)
    for name in ("caught", "false_alarms"):
        shown[HEADINGS[name]] = [_number(value, ".0f", "%") for value in summary[name]]
    shown[HEADINGS["seconds_per_round"]] = [_number(value, ".2f") for value in summary["seconds_per_round"]]
    if summary[["skipped", "dropped"]].to_numpy().any():
        for name in ("skipped", "dropped"):
            shown[HEADINGS[name]] = [f"{round(value, 1):g}" for value in summary[name]]
    shown["runs"] = [str(count) for count in summary["runs"]]
    return pd.DataFrame(shown)


def markdown(table: pd.DataFrame) -> str:
    """Return a table of texts as markdown."""
    rows = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows) + "\n"


def _in_order(summary: pd.DataFrame, axes: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    places = {axis: {value: place for place, value in enumerate(values)} for axis, values in axes.items()}
    order = [
        (not row["attacked"], *(places[axis].get(row[axis], -1) for axis in axes))
        for row in summary.to_dict(orient="records")
    ]
    return summary.iloc[sorted(range(len(summary)), key=order.__getitem__)].reset_index(drop=True)


def _floors(summary: pd.DataFrame) -> list[str]:
    borrowed = summary["floor_from"].str.contains(PLAIN_AVERAGING)
    return [
        _number(floor, ".1f", f" {BORROWED}" if mark else "")
        for floor, mark in zip(summary["floor"], borrowed, strict=True)
    ]


def _measures(runs: pd.DataFrame) -> list[str]:
    return [name for name in MEASURES if name in runs]


def _with_spread(summary: pd.DataFrame, mean: str, spread: str, digits: int) -> list[str]:
    pairs = zip(summary[mean], summary[spread], strict=True)
    return [_number(m, f".{digits}f") + (f" ± {s:.{digits}f}" if pd.notna(s) else "") for m, s in pairs]


def _number(value: float, pattern: str, unit: str = "") -> str:
    return f"{value:{pattern}}{unit}" if pd.notna(value) else "-"
