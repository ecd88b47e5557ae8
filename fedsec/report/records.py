"""Finished runs as rows of a pandas table."""

from collections.abc import Iterable, Mapping, Sequence
from math import isnan, nan
from typing import Any

import pandas as pd

from fedsec.runs.config import flatten
from fedsec.runs.measures import MEASURES, REBUILT, SCORES, measured, rebuilt_over
from fedsec.runs.record import RunFolder

NO_NUMBERS = ("run.name", "run.output", "run.resume", "run.seed")
ATTACK_ONLY = (
    "attack.kind",
    "attack.share",
    "attack.start-round",
    "attack.end-round",
    "attack.label-share",
    "attack.labels",
    "attack.evasion",
    "attack.evasion-weight",
    "attack.victim",
    "attack.start-accuracy",
    "attack.updates",
    "attack.generator-rate",
    "attack.fakes",
    "attack.total-variation",
    "attack.jitter",
)

MEASURED = "BA.measured"

SAME_SETTING = "same setting"
PLAIN_AVERAGING = "fedavg"


def read_runs(folders: Iterable[RunFolder]) -> pd.DataFrame:
    """Return one row a run: every key of its configuration, its final measures, and what its defense did.

    What an adversary rebuilt is measured over all the rounds of its attack (:func:`fedsec.runs.measures.rebuilt_over`).
    Accuracies are percent; ``caught`` is the percent of malicious client-rounds that got weight 0,
    ``false_alarms`` of honest ones, ``attacked`` whether any client was malicious, ``skipped`` the number of rounds
    that left the global model as it was, and ``dropped`` the number of replies that were not used.
    """
    return without_empty(pd.DataFrame([_row(folder) for folder in folders]))


def read_rounds(folders: Iterable[RunFolder], axes: Sequence[str]) -> pd.DataFrame:
    """Return one row for each round of each run: its values on ``axes``, seed, ``attacked``, round, every measure.

    Every draw is keyed by its round, so a run's round r is what a run of r rounds ends with. What an adversary rebuilt
    is that round's own.
    """
    rows = []
    for folder in folders:
        config = folder.config()
        flat = flatten(config)
        at = {axis: flat[axis] for axis in axes} | {"run.seed": config.run.seed, "attacked": config.attacked}
        rows += [at | {"round": record["round"]} | measured(record) for record in folder.rounds()]
    return without_empty(pd.DataFrame(rows))


def without_empty(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the table without the measures that no row has; accuracies stay where there are no scores either."""
    empty = [name for name in MEASURES if name in runs and runs[name].isna().all()]
    if set(SCORES) <= set(empty):
        # Where there are rebuilt images, BA is not defined; elsewhere it is shown, be it empty.
        rebuilt = set(REBUILT) <= set(empty)
        empty = [*SCORES, *REBUILT] if rebuilt else [name for name in empty if name != "MA"]
    return runs.drop(columns=empty)


def with_floor(runs: pd.DataFrame) -> pd.DataFrame:
    """Add ``floor``: BA of the same run with nobody attacking, or failing that, of plain averaging's.

    ``floor_from`` says which, ``SAME_SETTING`` or ``PLAIN_AVERAGING``. Where no such run is at hand, the floor is NaN
    and ``floor_from`` is empty.
    """
    if runs.empty:
        return runs.assign(floor=pd.Series(dtype=float), floor_from=pd.Series(dtype=str))
    if "BA" not in runs:
        return runs.assign(floor=nan, floor_from="")
    # Nobody attacks, but BA is measured as the attack in question says.
    runs = runs.assign(
        **{MEASURED: runs["attack.labels"].where(runs["attack.kind"] == "untargeted-backdoor", "target")}
    )
    settings = [key for key in runs.columns if "." in key and key not in (*NO_NUMBERS[:-1], *ATTACK_ONLY)]
    looser = [key for key in settings if not key.startswith("defense.")]
    clean = runs[~runs["attacked"]]
    exact = clean.groupby(settings, dropna=False)["BA"].mean().to_dict()
    plain = clean[clean["defense.strategy"] == PLAIN_AVERAGING].groupby(looser, dropna=False)["BA"].mean().to_dict()
    floors = []
    for same, loose in zip(_rows(runs, settings), _rows(runs, looser), strict=True):
        floor, source = (exact[same], SAME_SETTING) if same in exact else (plain.get(loose, nan), PLAIN_AVERAGING)
        floors.append((floor, "" if isnan(floor) else source))
    found = runs.assign(floor=[floor for floor, _ in floors], floor_from=[source for _, source in floors])
    return found.drop(columns=MEASURED)


def _rows(runs: pd.DataFrame, columns: list[str]) -> list[tuple[Any, ...]]:
    return list(runs[columns].itertuples(index=False, name=None))


def _row(folder: RunFolder) -> dict[str, Any]:
    summary: Mapping[str, Any] = folder.summary() or {}
    config, counts, final = folder.config(), summary["detection"], summary["final"]
    measures = {name: nan if final.get(name) is None else final[name] for name in MEASURES}
    if config.attack.kind == "reconstruction":
        measures |= rebuilt_over(folder.rounds())
    return {
        **flatten(config),
        "attacked": config.attacked,
        **measures,
        "features": final.get("features", ""),
        "caught": _percent(counts["caught"], counts["malicious"]),
        "false_alarms": _percent(counts["false_alarms"], counts["honest"]),
        "seconds_per_round": summary["seconds_per_round"],
        "dropped": summary["dropped"],
        "skipped": summary["skipped"],
        "code": folder.environment()["code"],
        "folder": str(folder.path),
    }


def _percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else float("nan")
