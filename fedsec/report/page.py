"""A report on finished runs: markdown, CSV, pictures, and one page that holds them all."""

import base64
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fedsec.report.figures import overview, partition_of, save
from fedsec.report.records import read_runs, run_folders, with_floor
from fedsec.report.tables import LEGEND, display, floor_of, markdown, summarise, table_of, varying
from fedsec.runs.loading import ConfigError
from fedsec.runs.record import RunFolder
from fedsec.runs.table import Table

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}"
    "th,td{padding:.25rem .7rem;border-bottom:1px solid #ddd;text-align:right}"
    "th:first-child,td:first-child{text-align:left}img{max-width:100%}footer{color:#666;font-size:.85rem}"
)


@dataclass(frozen=True, slots=True)
class Report:
    """What a report says, before it is written.

    Attributes:
        title: heading.
        sections: tables of texts by heading.
        data: the numbers behind the first table, for CSV.
        notes: paragraphs below the tables.
    """

    title: str
    sections: dict[str, pd.DataFrame]
    data: pd.DataFrame
    notes: tuple[str, ...]


def build_report(folders: Sequence[RunFolder], table: Table | None = None) -> Report:
    """Return the report on ``folders``, in the cells of ``table`` or by whatever the runs differ in.

    Raises:
        ConfigError: there is no finished run among them.
    """
    runs = with_floor(read_runs(folders))
    if runs.empty:
        raise ConfigError(["no finished run found; expected folders with a summary.json"])
    if table is None:
        axes = varying(runs)
        data = summarise(runs, axes)
        sections = {"Runs": display(data, axes)}
    else:
        axes = list(table.axes)
        data = table_of(runs, table)
        sections = {"Attacked": display(data, axes)}
        if not runs["attacked"].all():
            sections["Nobody attacks"] = display(floor_of(runs, table).assign(floor=float("nan")), axes)
    notes = [LEGEND, _what_was_run(folders)]
    if runs["code"].nunique() > 1:
        notes.append(f"These runs were made with {runs['code'].nunique()} versions of the code.")
    return Report(table.title if table else "Runs", sections, data, tuple(notes))


def write_report(folders: Sequence[RunFolder], out: Path, table: Table | None = None) -> Report:
    """Write ``<name>.md``, ``.csv``, ``.png`` and ``.html`` into the folder ``out``; return what they say."""
    report = build_report(folders, table)
    name = table.name if table else "report"
    out.mkdir(parents=True, exist_ok=True)
    report.data.to_csv(out / f"{name}.csv", index=False, float_format="%.4f")
    pictures = {
        "Rounds": save(overview(by_label(folders, table)), out / f"{name}.png"),
        "Who holds what": save(partition_of(folders[-1]), out / f"{name}_partition.png"),
    }
    (out / f"{name}.md").write_text(_markdown(report, pictures))
    (out / f"{name}.html").write_text(_page(report, pictures))
    return report


def find_runs(paths: Sequence[Path]) -> list[RunFolder]:
    """Return the finished runs at and below ``paths``.

    Raises:
        ConfigError: there is none.
    """
    folders = [folder for path in paths for folder in run_folders(path)]
    if not folders:
        raise ConfigError([f"no finished run at or below {', '.join(str(path) for path in paths)}"])
    return folders


def by_label(folders: Sequence[RunFolder], table: Table | None = None) -> dict[str, list[RunFolder]]:
    """Return the runs under what tells them apart in a picture; attacked ones only, where a table has both."""
    configs = {folder.path: folder.config() for folder in folders}
    attacked = [folder for folder in folders if configs[folder.path].attacked]
    shown = attacked if table is not None and attacked else list(folders)
    runs = read_runs(shown)
    axes = [axis for axis in (table.axes if table else varying(runs)) if runs[axis].nunique() > 1]
    labelled: dict[str, list[RunFolder]] = {}
    for folder, values in zip(shown, runs[axes or ["defense.strategy"]].itertuples(index=False), strict=True):
        labelled.setdefault(", ".join(str(value) for value in values), []).append(folder)
    return labelled


def _what_was_run(folders: Sequence[RunFolder]) -> str:
    environment = folders[-1].environment()
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items() if version)
    return f"{len(folders)} runs; {versions}; Python {environment['python']}; {environment['device']}."


def _markdown(report: Report, pictures: Mapping[str, Path]) -> str:
    parts = [f"# {report.title}\n"]
    parts += [f"## {heading}\n\n{markdown(table)}" for heading, table in report.sections.items()]
    parts += [f"{note}\n" for note in report.notes]
    parts += [f"![{heading}]({path.name})\n" for heading, path in pictures.items()]
    return "\n".join(parts)


def _page(report: Report, pictures: Mapping[str, Path]) -> str:
    body = [f"<h1>{html.escape(report.title)}</h1>"]
    for heading, table in report.sections.items():
        body += [f"<h2>{html.escape(heading)}</h2>", table.to_html(index=False, border=0)]
    for heading, path in pictures.items():
        data = base64.b64encode(path.read_bytes()).decode()
        body.append(
            f'<h2>{html.escape(heading)}</h2><img alt="{html.escape(heading)}" src="data:image/png;base64,{data}">'
        )
    body += ["<footer>", *(f"<p>{html.escape(note)}</p>" for note in report.notes), "</footer>"]
    head = f'<meta charset="utf-8"><title>{html.escape(report.title)}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>\n'


def as_json(report: Report) -> str:
    """Return the numbers of a report's first table as one line of JSON."""
    return json.dumps(json.loads(report.data.to_json(orient="records")))
