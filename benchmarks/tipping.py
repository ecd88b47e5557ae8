"""Whom defenses let in, by whether the model that was sent out carries the backdoor: do they tip over?

``python -m benchmarks.tipping FOLDER... [--out FILE]``, of runs or folders that hold some.

A defense that compares updates tips where attackers, let in once, are let in more often afterwards: once the model has
the backdoor, those who plant it change it less than those who train it away.
"""

import argparse
import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measuring import print_rows
from fedsec.report.selection import find_runs
from fedsec.runs.loading import ConfigError
from fedsec.runs.record import RunFolder

CLEAN, BACKDOORED = 20.0, 80.0
"""BA in percent below which a model counts as clean, and above which as one with the backdoor."""

SETTLED = 2
"""Rounds at the beginning that do not count: BA says little of a model that has learned nothing."""

STATES = (f"BA below {CLEAN:g}", "between", f"BA above {BACKDOORED:g}")


class Round(NamedTuple):
    """A round of an attack.

    Attributes:
        strategy: the defense.
        before: BA in percent of the model that was sent out.
        let_in: share of the malicious clients that got a weight.
    """

    strategy: str
    before: float
    let_in: float


def main() -> None:
    """Count, print, and keep where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, help="file that keeps the table")
    options = parser.parse_args()
    try:
        folders = find_runs(options.folders)
    except ConfigError as error:
        parser.error(str(error))
    rows = table(round_ for folder in folders for round_ in rounds_of(folder))
    print_rows(rows)
    if options.out:
        lines = [rows[0], ("---",) * len(rows[0]), *rows[1:]]
        options.out.write_text("".join(f"| {' | '.join(line)} |\n" for line in lines))


def rounds_of(folder: RunFolder) -> list[Round]:
    """Return the rounds of a run in which malicious clients attacked, after the first ones."""
    lines, strategy = folder.rounds(), folder.config().defense.strategy
    return [
        Round(strategy, before["BA"], _let_in(line))
        for before, line in itertools.pairwise(lines)
        if line["round"] > SETTLED and before["BA"] is not None and any(map(_malicious, line["clients"]))
    ]


def table(rounds: Iterable[Round]) -> list[tuple[str, ...]]:
    """Return a row for each defense and state of the model: how many rounds, how many attackers were let in."""
    found: dict[str, dict[str, list[float]]] = {}
    for each in rounds:
        found.setdefault(each.strategy, {state: [] for state in STATES})[_state(each.before)].append(each.let_in)
    rows: list[tuple[str, ...]] = [("defense", "model before", "rounds", "attackers let in", "rounds with any of them")]
    for strategy, states in sorted(found.items()):
        for state, shares in states.items():
            if shares:
                some = sum(share > 0.0 for share in shares)
                rows.append(
                    (strategy, state, str(len(shares)), _percent(sum(shares), len(shares)), _percent(some, len(shares)))
                )
    return rows


def _let_in(line: Mapping[str, Any]) -> float:
    weights: list[float] = [client["weight"] for client in line["clients"] if _malicious(client)]
    return sum(weight > 0.0 for weight in weights) / len(weights)


def _malicious(client: Mapping[str, Any]) -> bool:
    return bool(client["role"] == "malicious")


def _state(before: float) -> str:
    return STATES[(before >= CLEAN) + (before > BACKDOORED)]


def _percent(part: float, whole: int) -> str:
    return f"{100.0 * part / whole:.1f} %"


if __name__ == "__main__":
    main()
