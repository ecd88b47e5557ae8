"""``fedsec``: run, reproduce, report, list, data check, node check."""

import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from fedsec.cli_checks import AsJson, data_app, node_app
from fedsec.runs.config import RunConfig
from fedsec.runs.loading import ConfigError, overridden, parse, parse_assignment

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="What attacks do to a federation, and what helps.",
    pretty_exceptions_enable=False,
)
app.add_typer(data_app, name="data")
app.add_typer(node_app, name="node")

Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one key; repeatable.")]
ENGINES = "ray; cohort, faster, for sweeps; local: one process, for tests."
Engine = Annotated[str, typer.Option(help=ENGINES)]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        from fedsec import __version__

        print(f"fedsec {__version__}")
        raise typer.Exit


@app.callback()
def fedsec(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What attacks do to a federation, and what helps."""


@app.command()
def run(
    file: Annotated[
        Path | None, typer.Argument(help="Run file, or a run's folder; without it, the default run.")
    ] = None,
    settings: Settings = None,
    engine: Engine = "ray",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished run.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run one federation and record it."""
    from fedsec.engine.run import execute
    from fedsec.progress import ProgressObserver
    from fedsec.report.page import write_report
    from fedsec.runs.record import RunFolder
    from fedsec.server_app import checked

    chosen = _engine(engine)
    config, folder = _run_to_do(file, settings, resume)
    checked(config, source=str(file or ""))
    folder = folder or RunFolder.create(config)
    console = _console(as_json)
    with ProgressObserver(console, quiet=quiet) as observer, _crash_safe(folder.path):
        observer.preparing(f"{config.run.name} {config.defense.strategy}", config.federation.rounds)
        summary = execute(config, folder, observer, engine=chosen)
    report = write_report([folder], folder.path / "figures")
    if not quiet:
        _show(console, config.run.name, next(iter(report.sections.values())))
        console.print(f"record: {folder.path}", highlight=False, soft_wrap=True)
    if as_json:
        print(json.dumps({**summary, "folder": str(folder.path)}))


@app.command()
def reproduce(
    file: Annotated[Path, typer.Argument(help="Table file, or figure file.")],
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds 0 to N-1 instead of those in the file.")] = None,
    settings: Settings = None,
    reduced: Annotated[
        bool, typer.Option("--reduced", help="The file's reduced setting, for a small machine.")
    ] = False,
    engine: Annotated[str | None, typer.Option(help=ENGINES, show_default="cohort")] = None,
    together: Annotated[int, typer.Option(min=1, help="Runs that go on at once, with --engine cohort.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder of the report; by default beside the runs.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run every cell of a table that is not finished yet, and print it beside the published one; or draw a figure."""
    from fedsec.cli_figures import refuse_options, reproduce_figure
    from fedsec.report.page import as_json as report_as_json
    from fedsec.report.page import write_report
    from fedsec.runs.figure import is_figure
    from fedsec.runs.loading import read_toml
    from fedsec.runs.record import runs_folder
    from fedsec.runs.table import load_table

    if together > 1 and engine not in (None, "cohort"):
        raise ConfigError([f"--together: found {together} with --engine {engine}; expected --engine cohort, or 1"])
    overrides, console = dict(map(parse_assignment, settings or [])), _console(as_json)
    if is_figure(read_toml(file)):
        refuse_options(file, seeds=seeds, together=together if together > 1 else None, engine=engine)
        reproduce_figure(file, overrides, console, reduced=reduced, out=out, quiet=quiet, as_json=as_json)
        return
    chosen = _engine(engine or "cohort")
    table = load_table(file).as_reduced() if reduced else load_table(file)
    runs = table.runs(range(seeds) if seeds else table.seeds, overrides)
    folders = _finished(table, runs, console, engine=chosen, together=together, quiet=quiet)
    target = out or runs_folder(runs[0][1]) / table.name / "report"
    changed = ", ".join(f"{key} = {value}" for key, value in overrides.items())
    report = write_report(folders, target, table, [f"Run with --set: {changed}."] if changed else [])
    for heading, shown in report.sections.items():
        _show(console, f"{table.title}: {heading.lower()}", shown)
    if not quiet:
        _explain(console, report.notes)
    console.print(f"report: {(target / table.name).absolute()}.md, .csv, .png, .html", highlight=False, soft_wrap=True)
    if as_json:
        print(report_as_json(report))


def _finished(table: Any, runs: Any, console: Console, *, engine: Any, together: int, quiet: bool) -> Any:
    """Do the runs of a table that are not finished; return the folders of all of them."""
    from fedsec.engine.cells import finish_cells
    from fedsec.progress import ProgressObserver
    from fedsec.scenario import code_hash
    from fedsec.server_app import checked

    for cell, config in runs:
        checked(config, source=f"{table.path} ({cell.label()})")
    with ProgressObserver(console, quiet=quiet) as observer, _crash_safe(None):

        def watch(label: str, config: RunConfig) -> ProgressObserver:
            beside = observer.beside()
            beside.preparing(label, config.federation.rounds)
            return beside

        folders, other_code = finish_cells(table, runs, watch, engine=engine, together=together)
    if other_code and not quiet:
        told = f"note: {other_code} of {len(runs)} runs were finished before, with other code than this ({code_hash()})"
        console.print(f"{told}; delete their folders to run them again", highlight=False, soft_wrap=True)
    return folders


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders that hold some.")],
    table: Annotated[Path | None, typer.Option(help="Table file whose cells the runs are.")] = None,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("report"),
    as_json: AsJson = False,
) -> None:
    """Write tables, pictures and a page on finished runs."""
    from fedsec.report.page import as_json as report_as_json
    from fedsec.report.page import write_report
    from fedsec.report.selection import find_runs, select_runs
    from fedsec.runs.table import load_table

    cells = load_table(table) if table else None
    selection = select_runs(find_runs(runs), cells)
    written = write_report(selection.folders, out, cells, selection.notes)
    console = _console(as_json)
    for heading, shown in written.sections.items():
        _show(console, heading, shown)
    _explain(console, written.notes)
    console.print(f"report: {out.absolute()}", highlight=False, soft_wrap=True)
    if as_json:
        print(report_as_json(written))


@app.command("list")
def list_everything(as_json: AsJson = False) -> None:
    """List every data set, partition, model, attack, strategy and setting, with options, bounds, units and source."""
    from fedsec.catalogue import as_text, catalogue

    entries = list(catalogue())
    print(json.dumps([asdict(entry) for entry in entries]) if as_json else as_text(entries, Console().width))


def main() -> None:
    """Run the command line; a mistake of the user's is one line and exit code 2, a failed run is exit code 1."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    try:
        app()
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        for line in str(error).splitlines() or [type(error).__name__]:
            print(f"fedsec: {line}", file=sys.stderr)
        sys.exit(code)


def _exit_code(error: Exception) -> int | None:
    """Return the exit code of an error that a person can do something about, ``None`` for a bug."""
    from fedsec.data.sources import DataError

    if isinstance(error, ConfigError | DataError):
        return 2
    from fedsec.engine.simulation import RayMissingError
    from fedsec.nodes import FederationError
    from fedsec.runs.checkpoint import CheckpointError

    if isinstance(error, RayMissingError):
        return 2
    if isinstance(error, FederationError | CheckpointError | OSError):
        return 1
    from fedsec.metrics.generation import ScoreError
    from fedsec.tensors import DamagedError
    from fedsec.training.inception import WeightsError

    if isinstance(error, WeightsError):
        return 2
    return 1 if isinstance(error, ScoreError | DamagedError) else None


def _run_to_do(file: Path | None, settings: list[str] | None, resume: bool) -> tuple[RunConfig, Any]:
    """Return the configuration to run, and the folder to go on in where there is one."""
    from fedsec.runs.loading import load_run_file
    from fedsec.runs.record import RunFolder, unfinished_run

    overrides = dict(map(parse_assignment, settings or []))
    if file is not None and file.is_dir():
        if not resume:
            raise ConfigError(["this is a folder; give --resume to go on with the run in it"], str(file))
        if overrides:
            raise ConfigError(["--set cannot change a run that has begun"], str(file))
        folder = RunFolder(file.absolute())
        return folder.config(), folder
    config = load_run_file(file, overrides) if file else parse(overridden({}, overrides), source="--set")
    if not resume and not config.run.resume:
        return config, None
    folder_found = unfinished_run(config)
    if folder_found is None:
        raise ConfigError([f"--resume: no unfinished run {config.run.name!r} with this configuration"], str(file or ""))
    return config, folder_found


def _engine(name: str) -> Any:
    """Return the engine's name once it is one that can run on this machine: before there is a folder of a run."""
    if name not in ("ray", "cohort", "local"):
        raise ConfigError([f"--engine: found {name!r}; expected 'ray', 'cohort' or 'local'"])
    if name != "local":
        from fedsec.engine.simulation import require_ray

        require_ray(name)
    return name


class _crash_safe:  # noqa: N801 (used as a function)
    """Say how to go on when a run is interrupted or a file cannot be written: every finished round is on disk.

    Ctrl-C ends the process at once. Ray's threads would wait for the run to end before they let go; its processes
    end with this one.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._before: Callable[..., Any] | int | None = None

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGINT, self._stop)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: object) -> None:
        signal.signal(signal.SIGINT, self._before)
        if isinstance(error, OSError):
            self._say(f"{error.strerror or error}")

    def _stop(self, number: int, frame: object) -> None:
        self._say("interrupted")
        os._exit(130)

    def _say(self, what: str) -> None:
        again = f"fedsec run --resume {self.folder}" if self.folder else "the same command"
        os.write(2, f"\nfedsec: {what}; every finished round is kept, go on with: {again}\n".encode())


def _console(as_json: bool) -> Console:
    return Console(stderr=as_json)


def _show(console: Console, title: str, table: Any) -> None:
    from fedsec.report.terminal import show

    show(console, title, table)


def _explain(console: Console, notes: Iterable[str]) -> None:
    for note in notes:
        console.print(note, style="dim", highlight=False, markup=False)
