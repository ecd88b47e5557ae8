"""What tells runs apart: the settings in which they differ, and a label for each."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from fedsec.report.records import read_runs
from fedsec.runs.config import RunConfig, Scalar
from fedsec.runs.record import RunFolder
from fedsec.runs.table import Table

CHOICES = ("defense.strategy", "attack.kind", "data.dataset", "data.partition")
"""Keys that bring other keys of their section with them: a strategy its options, a partition its degree."""


def varying(runs: pd.DataFrame) -> list[str]:
    """Return the keys in which the runs differ, the seed aside, without those that a choice brings with it.

    An option that has one value for each strategy is left out, for the strategy says it all. A key of another section
    stays: if only FLAME was run with q = 0.9, q has to be seen. The name stays where it alone tells runs apart.
    """
    differing = _differing(runs)
    axes = [key for key in differing if key != "run.name" and _choice_behind(runs, key, differing) is None]
    if "run.name" in differing and not (axes and _decide(runs, axes, "run.name")):
        axes.insert(0, "run.name")
    return axes or ["defense.strategy"]


def implied(runs: pd.DataFrame) -> str:
    """Return what :func:`varying` left out, by the choice that brings it: ``krum (distance euclidean), ...``."""
    differing = _differing(runs)
    behind = {key: _choice_behind(runs, key, differing) for key in differing}
    found: dict[str, list[str]] = {}
    for choice in CHOICES:
        keys = [key for key, brought_by in behind.items() if brought_by == choice]
        for value, group in runs.groupby(choice, sort=False):
            for key in keys:
                text = plain(group[key].iloc[0])
                if text:
                    found.setdefault(str(value), []).append(f"{key.partition('.')[2]} {text}")
    return ", ".join(f"{value} ({', '.join(options)})" for value, options in found.items())


def by_label(folders: Sequence[RunFolder], table: Table | None = None) -> dict[str, list[RunFolder]]:
    """Return the runs under what tells them apart in a picture; attacked ones only, where a table has both."""
    attacked = [folder for folder in folders if folder.config().attacked]
    shown = attacked if table is not None and attacked else list(folders)
    runs = read_runs(shown)
    axes = [axis for axis in (table.axes if table else varying(runs)) if unset_as_one(runs[axis]).nunique() > 1]
    axes = axes or ["defense.strategy"]
    labelled: dict[str, list[RunFolder]] = {}
    for folder, values in zip(shown, runs[axes].itertuples(index=False, name=None), strict=True):
        labelled.setdefault(_label(dict(zip(axes, values, strict=True))), []).append(folder)
    return labelled


def by_partition(folders: Sequence[RunFolder]) -> dict[str, RunFolder]:
    """Return one run for each way of dealing out the data, under what tells it from the others.

    Of several it is an attacked run of the lowest seed, so that the picture can mark the malicious clients.
    """
    ranked = sorted(folders, key=lambda folder: (folder.config().run.seed, not folder.config().attacked))
    chosen: dict[tuple[Scalar, ...], RunFolder] = {}
    for folder in ranked:
        chosen.setdefault(tuple(_dealing(folder.config()).values()), folder)
    dealings = [_dealing(folder.config()) for folder in chosen.values()]
    keys = [key for key in dealings[0] if len({dealing[key] for dealing in dealings}) > 1]
    titles = [", ".join(f"{key} = {plain(dealing[key])}" for key in keys if dealing[key] != "") for dealing in dealings]
    return dict(sorted(zip(titles, chosen.values(), strict=True), key=lambda pair: _sortable(pair[1], keys)))


def unset_as_one(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return values with "" for those that are not given, whether they came as None, NaN or ""."""
    return values.astype(object).where(values.notna(), "") if values.isna().any() else values


def plain(value: object) -> str:
    """Return a setting as text, "" where it is not given."""
    if pd.isna(value):  # type: ignore[call-overload]
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _differing(runs: pd.DataFrame) -> list[str]:
    keys = [key for key in runs.columns if "." in key and key not in ("run.seed", "run.output", "run.resume")]
    return [key for key in keys if unset_as_one(runs[key]).nunique() > 1]


def _choice_behind(runs: pd.DataFrame, key: str, differing: Iterable[str]) -> str | None:
    """Return the choice of the same section that decides ``key`` in these runs, if there is one."""
    stronger = CHOICES[: CHOICES.index(key)] if key in CHOICES else CHOICES
    section = key.partition(".")[0] + "."
    choices = [choice for choice in stronger if choice.startswith(section) and choice in differing]
    return next((choice for choice in choices if _decide(runs, [choice], key)), None)


def _decide(runs: pd.DataFrame, axes: list[str], key: str) -> bool:
    known = pd.DataFrame({name: unset_as_one(runs[name]) for name in (*axes, key)})
    return bool((known.groupby(axes)[key].nunique() == 1).all())


def _label(values: Mapping[str, Any]) -> str:
    """Return ``fedavg, q=0.9``: texts as they are, numbers with their names; what is not given is left out."""
    parts = []
    for key, value in values.items():
        text = plain(value)
        if text:
            parts.append(text if isinstance(value, str) else f"{key.partition('.')[2]}={text}")
    return ", ".join(parts) or "nothing set"


def _dealing(config: RunConfig) -> dict[str, Scalar]:
    """Return what decides who holds what, the seed aside."""
    data = config.data
    return {
        "dataset": data.dataset,
        "partition": data.partition,
        "q": data.q if data.partition == "label-skew" else "",
        "share": data.share,
        "alpha": data.alpha if data.partition == "dirichlet" else "",
        "clients": config.federation.clients,
    }


def _sortable(folder: RunFolder, keys: Iterable[str]) -> list[tuple[bool, Any]]:
    """Return a sort key that puts numbers before texts, and smaller before larger."""
    dealing = _dealing(folder.config())
    return [(isinstance(dealing[key], str), dealing[key]) for key in keys]
