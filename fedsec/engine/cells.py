"""The runs of a table, those that are not finished yet."""

from collections.abc import Callable, Sequence

from fedsec.engine.run import EngineName, Job, opened
from fedsec.observer import Observer
from fedsec.runs.config import RunConfig
from fedsec.runs.record import RunFolder, config_hash, runs_folder
from fedsec.runs.table import Cell, Table, run_folder_name
from fedsec.scenario import code_hash

Watch = Callable[[str, RunConfig], Observer]
"""From a label and a configuration to the observer of that run, when it is about to start."""


def finish_cells(
    table: Table, runs: Sequence[tuple[Cell, RunConfig]], watch: Watch, *, engine: EngineName, together: int
) -> tuple[list[RunFolder], int]:
    """Do every run that is not finished; return all folders, and how many runs other code has finished before.

    A run that another table has finished is not done again: tables of a paper share rows.

    Args:
        table: the table.
        runs: its cells with their configurations, which were checked.
        watch: gives the observer of a run.
        engine: what runs the clients.
        together: how many runs go on at once, in step; more than one on engine ``"cohort"`` only.
    """
    folders = [_folder(table, cell, config) for cell, config in runs]
    finished = [folder for folder in folders if folder.summary() is not None]
    to_do = [number for number, folder in enumerate(folders) if folder not in finished]
    with opened(engine, runs[0][1].federation.device) as do:
        for start in range(0, len(to_do), together):
            jobs = []
            for number in to_do[start : start + together]:
                (cell, config), folder = runs[number], folders[number]
                if not (folder.path / "config.toml").exists():
                    RunFolder.create(config, folder.path)
                label = f"{number + 1}/{len(runs)} {cell.label()} seed={config.run.seed}"
                jobs.append(Job(config, folder, watch(label, config)))
            do(jobs)
    return folders, sum(1 for folder in finished if folder.environment()["code"] != code_hash())


def _folder(table: Table, cell: Cell, config: RunConfig) -> RunFolder:
    """Return the folder of a cell's run: the table's own, or another table's where that has finished the same run."""
    all_runs, name = runs_folder(config), run_folder_name(cell, config)
    own = RunFolder(all_runs / table.name / name)
    if own.path.exists():
        return own
    same = (RunFolder(path) for path in sorted(all_runs.glob(f"*/*,seed={config.run.seed}-{config_hash(config)}")))
    return next((folder for folder in same if folder.summary() is not None), own)
