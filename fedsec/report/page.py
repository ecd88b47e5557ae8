"""A report on finished runs: markdown, CSV, pictures, and one page that holds them all."""

import base64
import html
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fedsec.report.defended import defense_legend, defense_sections
from fedsec.report.defended_figures import defense_pictures
from fedsec.report.differences import by_label, by_partition, implied, varying
from fedsec.report.figures import overview, partition_of, samples_of, save
from fedsec.report.fillings import filling_notes
from fedsec.report.generator_figures import generated_images, generator_rounds
from fedsec.report.panels import panels
from fedsec.report.reconstruction_figures import reconstruction_pictures
from fedsec.report.records import read_rounds, read_runs, with_floor
from fedsec.report.tables import display, legend, markdown, summarise, table_of
from fedsec.runs.loading import ConfigError
from fedsec.runs.measures import MEASURES
from fedsec.runs.record import RunFolder
from fedsec.runs.table import Table

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}"
    "th,td{padding:.25rem .7rem;border-bottom:1px solid #ddd;text-align:right}"
    "th:first-child,td:first-child{text-align:left}img{max-width:100%}footer{color:#666;font-size:.85rem}"
)


MOST_LINES = 12
"""So many lines can still be told apart in one picture; a table with more gets panels."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a report says, before it is written.

    Attributes:
        title: heading.
        sections: tables of texts by heading.
        data: the numbers behind all of them, for CSV.
        notes: paragraphs below the tables.
    """

    title: str
    sections: dict[str, pd.DataFrame]
    data: pd.DataFrame
    notes: tuple[str, ...]


def build_report(folders: Sequence[RunFolder], table: Table | None = None, notes: Sequence[str] = ()) -> Report:
    """Return the report on ``folders``, in the cells of ``table`` or by whatever the runs differ in.

    Args:
        folders: finished runs.
        table: the table whose cells they are.
        notes: what else a reader should know of how they were chosen.

    Raises:
        ConfigError: there is no finished run among them.
    """
    runs = with_floor(read_runs(folders))
    if runs.empty:
        raise ConfigError(["no finished run found; expected folders with a summary.json"])
    axes = list(table.axes) if table else varying(runs)
    data = table_of(runs, table) if table else summarise(runs, axes)
    parts = {"Attacked": data[data["attacked"]], "Nobody attacks": data[~data["attacked"]].assign(floor=float("nan"))}
    if table is None:
        parts = {"Runs": data}
    sections = {heading: display(part, axes) for heading, part in parts.items() if len(part)}
    options = "" if table else implied(runs)
    said = [
        legend(
            sections.values(),
            set(runs.loc[runs["attack.kind"] == "untargeted-backdoor", "attack.labels"]),
            runs["features"],
            runs["attack.sources"],
        ),
        f"Options that go with it: {options}." if options else "",
        *filling_notes(folders),
        _what_was_run(folders),
    ]
    defended = table.defended if table else None
    labelled = by_label(folders, table)
    shown = {folder.path for label in labelled.values() for folder in label}
    calm = [folder for folder in folders if folder.path not in shown]
    found = defense_sections(labelled, by_label(calm, table) if calm else {}, defended)
    sections |= found
    said.insert(1, defense_legend(found, defended))
    codes = {code for joined in runs["code"] for code in joined.split("+")}  # a run may go on with other code
    if len(codes) > 1:
        said.append(f"These runs were made with {len(codes)} versions of the code.")
    said.insert(0, table.note if table else "")
    return Report(table.title if table else "Runs", sections, data, (*filter(None, said), *notes))


def write_report(
    folders: Sequence[RunFolder], out: Path, table: Table | None = None, notes: Sequence[str] = ()
) -> Report:
    """Write ``<name>.md``, ``.csv``, ``.png`` and ``.html`` into the folder ``out``; return what they say.

    ``<name>_rounds.csv`` has the measures of every round; those of a large table are in ``<name>_MA.png`` and the like.
    There is one more picture for each way of dealing out the data, ``<name>_partition.png``, numbered if several.
    """
    report = build_report(folders, table, notes)
    name = table.name if table else "report"
    out.mkdir(parents=True, exist_ok=True)
    report.data.to_csv(out / f"{name}.csv", index=False, float_format="%.6g")
    rounds = read_rounds(folders, [str(column) for column in report.data if "." in str(column)])
    digits = {measure: max(2, about.digits) for measure, about in MEASURES.items()}
    rounds.round(digits).to_csv(out / f"{name}_rounds.csv", index=False)
    pictures = _rounds(folders, rounds, table, out / name)
    pictures |= defense_pictures(by_label(folders, table), out / name, table.defended if table else None)
    dealings = by_partition(folders)
    for number, (title, folder) in enumerate(dealings.items(), start=1):
        heading, file = ("Who holds what", f"{name}_partition")
        if len(dealings) > 1:
            heading, file = (f"{heading}: {title}", f"{file}_{number}")
        pictures[heading] = save(partition_of(folder, title), out / f"{file}.png")
    (out / f"{name}.md").write_text(_markdown(report, pictures))
    (out / f"{name}.html").write_text(_page(report, pictures))
    return report


def _rounds(folders: Sequence[RunFolder], rounds: pd.DataFrame, table: Table | None, path: Path) -> dict[str, Path]:
    """Draw the measures by round, in one picture or, for a large table, in panels; return the pictures by heading."""
    labelled = by_label(folders, table)
    if all(folder.config().generative for folder in folders):
        return {
            "Generated images": save(generated_images(labelled), path.with_name(f"{path.name}_images.png"), dpi=90),
            "Rounds": save(generator_rounds(labelled), path.with_name(f"{path.name}.png")),
        }
    if all(folder.config().attack.kind == "reconstruction" for folder in folders):
        return reconstruction_pictures(labelled, path)
    axes = {axis: values for axis, values in (table.axes if table else {}).items() if rounds[axis].nunique() > 1}
    if len(labelled) <= MOST_LINES or len(axes) < 2:
        return {"Rounds": save(overview(labelled), path.with_name(f"{path.name}.png"))}
    attacked = rounds[rounds["attacked"]] if rounds["attacked"].any() else rounds
    first = next(iter(labelled.values()))[0]
    pictures = {"The trigger": save(samples_of(first), path.with_name(f"{path.name}.png"))}
    for measure in (name for name in MEASURES if name in rounds):
        drawn = panels(attacked, axes, measure)
        pictures[f"{measure} by round"] = save(drawn, path.with_name(f"{path.name}_{measure}.png"), dpi=100)
    return pictures


def _what_was_run(folders: Sequence[RunFolder]) -> str:
    found = Counter(_made_with(folder) for folder in folders)
    return " ".join(f"{count} run{'s' if count > 1 else ''}; {text}." for text, count in found.items())


def _made_with(folder: RunFolder) -> str:
    made = folder.environment()
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items() if version)
    return f"{versions}; Python {made['python']}; {made['device']}; code {made['code']}"


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
    """Return the numbers of a report's tables as one line of JSON."""
    return json.dumps(json.loads(report.data.to_json(orient="records")))
