"""What came of the filling of classes in the runs of a report: a table must not call filled what was not."""

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np

from fedsec.data.balancing import skew
from fedsec.runs.filling import FillingRecord
from fedsec.runs.record import RunFolder

LEFT, TOLD = "with skewed classes got nothing", "were filled with a remark"


class Client(NamedTuple):
    """A client of a run whose classes were to be filled."""

    run: str
    report: FillingRecord
    skewed: bool

    @property
    def filled(self) -> bool:
        """Whether anything was added to its images."""
        return self.report.after != self.report.before


def filling_notes(folders: Iterable[RunFolder]) -> list[str]:
    """Return a paragraph for each way of filling: how many clients' classes were filled, by what, and who was left.

    Empty for runs in which nothing is to be filled.
    """
    kinds: dict[str, list[Client]] = {}
    expected: dict[str, int] = {}
    for folder in folders:
        data, clients = folder.config().data, folder.config().federation.clients
        if data.balance != "none":
            expected[data.balance] = expected.get(data.balance, 0) + clients
            kinds.setdefault(data.balance, []).extend(
                Client(folder.path.name, report, _skew(report.before) > data.balance_above)
                for report in folder.fillings().values()
            )
    return [_note(kind, clients, expected[kind]) for kind, clients in kinds.items()]


def _note(kind: str, clients: Sequence[Client], expected: int) -> str:
    filled = [client.report for client in clients if client.filled]
    left = [client for client in clients if client.skewed and not client.filled]
    makers = ", ".join(sorted({report.by for report in filled if report.by not in ("", kind)}))
    parts = [f"Filled by {kind}: {len(filled)} of {expected} clients"]
    if filled:
        before, after = (fmean(map(_skew, counts)) for counts in _columns(filled))
        parts.append(f"skew {before:.2f} before and {after:.2f} after, on average")
    if makers:
        parts.append(makers)
    if expected > len(clients):
        parts.append(f"of {expected - len(clients)} it is not known")
    told = [client for client in clients if client.filled and client.report.note]
    some = [f"{len(of)} {word}, such as {_named(of[0])}." for of, word in ((left, LEFT), (told, TOLD)) if of]
    return " ".join([f"{'; '.join(parts)}.", *some])


def _named(client: Client) -> str:
    note = f": {client.report.note}" if client.report.note else ""
    return f"client {client.report.client} of {client.run}{note}"


def _columns(filled: Sequence[FillingRecord]) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    return [report.before for report in filled], [report.after for report in filled]


def _skew(counts: tuple[int, ...]) -> float:
    return skew(np.array(counts, np.int64))
