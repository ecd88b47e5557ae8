"""Of runs that are defended: the rounds in which the attack failed, their time, and what was found in models.

Figure 5 (a) and Table 1 of the paper on GANcrop, for any runs; what its inspectors record is counted with any table.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import nan
from typing import Any, NamedTuple

import pandas as pd

from fedsec.runs.defended import Defended
from fedsec.runs.record import RunFolder

Runs = Mapping[str, Sequence[RunFolder]]

PLAIN_AVERAGING = "fedavg"

LEGEND_DEFENDED = (
    "Defended rounds: those after which BA is below {below:g} %, over all rounds of a run; spread over seeds."
)
LEGEND_TIMES = (
    "Time of a round: mean over all rounds of training and aggregation, evaluation left out, as in the paper; runs "
    "beside each other slow each other down."
)
LEGEND_FOUND = (
    "Found in models: searched are models in which triggers were looked for, a run; named are those in which one class "
    "stood out, or more, and its trigger was not taken for a natural one; true those among all in which the attack's "
    "target did, repaired those that were changed and used. A suspect whose repaired model is used counts as caught, "
    "for its own update has weight 0."
)


class Search(NamedTuple):
    """What was found in one model.

    Attributes:
        targets: the classes that stood out.
        used: whether the model was repaired, and what came of it was used.
    """

    targets: tuple[int, ...]
    used: bool


def defense_sections(runs: Runs, calm: Runs, defended: Defended | None) -> dict[str, pd.DataFrame]:
    """Return tables of texts by heading: as far as the table file asks for them, and as far as there are findings.

    Args:
        runs: the runs under each label.
        calm: further ones that nobody attacked, of which only what was found is told.
        defended: of the table; ``None`` for no table, or one that asks for nothing.
    """
    found: dict[str, pd.DataFrame] = {}
    if defended is not None:
        found["Defended rounds (Figure 5 a)"] = _shown_rounds(defended_rounds(runs, defended.below), defended.below)
    if defended is not None and defended.seconds:
        found["Time of a round (Table 1)"] = _shown_times(times(runs, defended.seconds))
    every = {**runs, **{f"{label}, nobody attacks": folders for label, folders in calm.items()}}
    if any(next(_searches(folder), None) for folders in every.values() for folder in folders):
        found["Found in models"] = _shown_findings(findings(every))
    return found


def defense_legend(sections: Mapping[str, pd.DataFrame], defended: Defended | None) -> str:
    """Return what the columns of :func:`defense_sections` mean."""
    said = {
        "Defended rounds": LEGEND_DEFENDED.format(below=defended.below if defended else nan),
        "Time of a round": LEGEND_TIMES,
        "Found in models": LEGEND_FOUND,
    }
    return " ".join(text for name, text in said.items() if any(heading.startswith(name) for heading in sections))


def defended_rounds(runs: Runs, below: float) -> pd.DataFrame:
    """Return of each label how many rounds of a run end with BA below ``below`` percent: mean, spread, out of how many.

    A round whose BA is not defined is not defended. The spread is the sample standard deviation, NaN for one run.
    """
    rows = []
    for label, folders in runs.items():
        trained = [[line for line in folder.rounds() if line["round"] > 0] for folder in folders]
        counts = pd.Series([sum(_is_below(line["BA"], below) for line in lines) for lines in trained], dtype=float)
        rounds = pd.Series([len(lines) for lines in trained]).mean()
        rows.append({"label": label, "defended": counts.mean(), "spread": counts.std(ddof=1), "rounds": rounds})
    return pd.DataFrame(rows)


def times(runs: Runs, published: Mapping[str, float]) -> pd.DataFrame:
    """Return seconds of a round of each label, from local training to aggregation, and as a ratio to plain averaging's.

    Args:
        runs: the runs under each label, which is a strategy.
        published: seconds by strategy.
    """
    seconds = {
        label: float(pd.Series([second for folder in folders for second in _seconds(folder)], dtype=float).mean())
        for label, folders in runs.items()
    }
    ours, theirs = seconds.get(PLAIN_AVERAGING, nan), published.get(PLAIN_AVERAGING, nan)
    return pd.DataFrame(
        [
            {
                "label": label,
                "seconds": value,
                "ratio": value / ours,
                "published": published.get(label, nan),
                "published_ratio": published.get(label, nan) / theirs,
            }
            for label, value in seconds.items()
        ]
    )


def findings(runs: Runs) -> pd.DataFrame:
    """Return of each label whom its defense caught, and what it found in the models that it searched.

    Shares are percent, over all runs of a label; those of which there is nothing are NaN.
    """
    rows = []
    for label, folders in runs.items():
        counts = pd.DataFrame([(folder.summary() or {})["detection"] for folder in folders]).sum()
        searched = [(_target(folder), one) for folder in folders for one in _searches(folder)]
        aimed = [(target, one) for target, one in searched if target is not None]
        rows.append(
            {
                "label": label,
                "caught": _percent(counts["caught"], counts["malicious"]),
                "false_alarms": _percent(counts["false_alarms"], counts["honest"]),
                "searched": len(searched) / len(folders),
                "named": _percent(sum(bool(one.targets) for _, one in searched), len(searched)),
                "true": _percent(sum(target in one.targets for target, one in aimed), len(aimed)),
                "repaired": _percent(sum(one.used for _, one in searched), len(searched)),
            }
        )
    return pd.DataFrame(rows)


def searches_in(line: Mapping[str, Any]) -> list[Search]:
    """Return what was found in the models that were searched in a round: GANcrop's repairs, or GANsweep's."""
    inspection = line.get("inspection") or {}
    repairs = [
        Search(() if one.get("target") is None else (one["target"],), one.get("outcome", "").startswith("repaired"))
        for one in [*inspection.get("repairs", []), *inspection.get("searches", [])]
    ]
    swept = [Search(tuple(one["flagged"]), "success_after" in one) for one in inspection.get("swept", [])]
    return repairs + swept


def _searches(folder: RunFolder) -> Iterator[Search]:
    for line in folder.rounds():
        yield from searches_in(line)


def _target(folder: RunFolder) -> int | None:
    """Return the class that a run's attackers aim at; ``None`` where there are none, or each has its own."""
    config = folder.config()
    return config.attack.target if config.attacked and config.attack.kind == "backdoor" else None


def _seconds(folder: RunFolder) -> list[float]:
    trained = [line["seconds"] for line in folder.rounds() if line["round"] > 0]
    return [seconds.get("train", 0.0) + seconds.get("aggregate", 0.0) for seconds in trained]


def _is_below(value: float | None, below: float) -> bool:
    return value is not None and value < below


def _percent(part: float, whole: float) -> float:
    return 100.0 * float(part) / float(whole) if whole else nan


def _shown_rounds(found: pd.DataFrame, below: float) -> pd.DataFrame:
    spreads = [f" ± {spread:.1f}" if pd.notna(spread) else "" for spread in found["spread"]]
    counts = [f"{mean:.1f}{spread}" for mean, spread in zip(found["defended"], spreads, strict=True)]
    rounds = [f"{number:g}" for number in found["rounds"]]
    return pd.DataFrame({"": found["label"], f"rounds with BA below {below:g} %": counts, "of": rounds})


def _shown_times(found: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "": found["label"],
            "s / round": _texts(found["seconds"], ".2f"),
            "ratio": _texts(found["ratio"], ".2f"),
            "ratio published": _texts(found["published_ratio"], ".2f"),
            "s / round published": _texts(found["published"], ".0f"),
        }
    )


def _shown_findings(found: pd.DataFrame) -> pd.DataFrame:
    searched = {
        name: _texts(found[key].where(found["searched"] > 0), ".0f", "%")
        for name, key in (("named", "named"), ("true", "true"), ("repaired", "repaired"))
    }
    return pd.DataFrame(
        {
            "": found["label"],
            "caught": _texts(found["caught"], ".0f", "%"),
            "false alarms": _texts(found["false_alarms"], ".1f", "%"),
            "searched": _texts(found["searched"].where(found["searched"] > 0), ".1f"),
            **searched,
        }
    )


def _texts(values: "pd.Series[Any]", pattern: str, unit: str = "") -> list[str]:
    return [f"{value:{pattern}}{unit}" if pd.notna(value) else "-" for value in values]
