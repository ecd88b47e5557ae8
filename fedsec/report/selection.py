"""Which of the runs at hand a report is about."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedsec.runs.loading import ConfigError
from fedsec.runs.record import RunFolder, config_hash
from fedsec.runs.table import Table


@dataclass(frozen=True, slots=True)
class Selection:
    """The runs that a report is about.

    Attributes:
        folders: the runs, in the order in which they were found.
        notes: a sentence for each reason why others were left out.
    """

    folders: list[RunFolder]
    notes: tuple[str, ...]


def find_runs(paths: Sequence[Path]) -> list[RunFolder]:
    """Return the finished runs at and below ``paths``, each once.

    Raises:
        ConfigError: there is none.
    """
    folders = [folder.resolve() for path in paths for folder in _finished(path)]
    if not folders:
        raise ConfigError([f"no finished run at or below {', '.join(str(path) for path in paths)}"])
    return [RunFolder(folder) for folder in dict.fromkeys(folders)]


def select_runs(folders: Sequence[RunFolder], table: Table | None = None) -> Selection:
    """Return the runs that are cells of ``table``, and the newest of those with the same configuration.

    Without this, a run with fewer rounds would be averaged into a cell, and a run that was done twice would look
    like one more seed.

    Args:
        folders: finished runs.
        table: the table whose cells are meant, for every seed among the runs; any run will do without one.

    Raises:
        ConfigError: no run is a cell of the table.
    """
    hashes = {folder.path: config_hash(folder.config()) for folder in folders}
    cells = list(folders) if table is None else _cells(folders, hashes, table)
    newest: dict[str, RunFolder] = {}
    for folder in sorted(cells, key=_finished_at):
        newest[hashes[folder.path]] = folder
    kept = [folder for folder in cells if newest[hashes[folder.path]] is folder]
    notes = []
    if table is not None and len(cells) < len(folders):
        others = f"Left out: {_runs(len(folders) - len(cells))} whose configuration is that of no cell"
        notes.append(f"{others} of {table.path.name}.")
    if len(kept) < len(cells):
        older = _runs(len(cells) - len(kept))
        notes.append(f"Left out: {older} of a configuration and seed that a newer run has too; the newest counts.")
    return Selection(kept, tuple(notes))


def _finished(path: Path) -> list[Path]:
    found = sorted({file.parent for file in path.rglob("summary.json")})
    return [folder for folder in found if (folder / "config.toml").exists()]


def _cells(folders: Sequence[RunFolder], hashes: dict[Path, str], table: Table) -> list[RunFolder]:
    seeds = sorted({folder.config().run.seed for folder in folders})
    wanted = {config_hash(config) for _, config in table.runs(seeds)}
    cells = [folder for folder in folders if hashes[folder.path] in wanted]
    if not cells:
        problem = f"{_runs(len(folders))} found, but none has the configuration of a cell; report without --table"
        raise ConfigError([problem], str(table.path))
    return cells


def _finished_at(folder: RunFolder) -> tuple[int, str]:
    return (folder.path / "summary.json").stat().st_mtime_ns, folder.path.name


def _runs(count: int) -> str:
    return f"{count} run" + ("s" if count != 1 else "")
