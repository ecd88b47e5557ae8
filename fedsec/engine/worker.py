"""What a process of the cohort engine does: train the clients it is given, and write each one's update into its row."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from flwr.client import NumPyClient
from flwr.common import NDArrays
from flwr.common.constant import ErrorCode
from numpy.typing import NDArray

from fedsec.clients import BenignClient, LocalTask
from fedsec.clients.app import read_fitted
from fedsec.clients.benign import Fitted, fit_cohort
from fedsec.defenses.updates import Matrix, Vector
from fedsec.engine.rows import RowsHandle, open_rows
from fedsec.engine.throughput import measure
from fedsec.runs.config import RunConfig
from fedsec.strategies.intake import Admitted, Limits, Reply, admit, reason_of
from fedsec.strategies.layout import BatchNorm, Layout
from fedsec.strategies.replies import last_line

MakeClient = Callable[[RunConfig, int], NumPyClient]


class Seat(NamedTuple):
    """A client of a round, and its row of the matrix."""

    row: int
    client: int


@dataclass(frozen=True, slots=True)
class Task:
    """What one worker does in one round.

    Attributes:
        make_client: from the configuration and a partition to its client.
        config: the run's configuration.
        server_round: the round.
        cohorts: the clients, those that are trained at once together.
        rows: the matrix, where its memory is shared.
        limits: bounds beyond which a reply is nonsense.
        batchnorm: whether BatchNorm's statistics are kept apart.
    """

    make_client: MakeClient
    config: RunConfig
    server_round: int
    cohorts: tuple[tuple[Seat, ...], ...]
    rows: RowsHandle | None
    limits: Limits
    batchnorm: BatchNorm


class Answer(NamedTuple):
    """What came of one client.

    Attributes:
        seat: the client and its row.
        admitted: what its reply claims, or ``None`` where it is dropped.
        reason: why it is dropped.
        metrics: the numbers that it reports.
        side: (side_width,) what is kept apart of its update.
        row: (d,) its update, where the matrix is not shared.
    """

    seat: Seat
    admitted: Admitted | None
    reason: str = ""
    metrics: Mapping[str, object] | None = None
    side: Vector | None = None
    row: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """The answers to a task, and the seconds that it took."""

    answers: list[Answer]
    seconds: float


class Worker:
    """Trains clients, one task after the other.

    Args:
        machine: name of the machine that it runs on.
    """

    def __init__(self, machine: str) -> None:
        self._machine = machine
        self._handle: RowsHandle | None = None
        self._rows: Matrix | None = None

    def train(self, task: Task, sent: Mapping[str, NDArray[np.generic]]) -> Done:
        """Train the clients of a task from the arrays ``sent``; whatever a client raises is its answer."""
        start = time.perf_counter()
        if task.rows != self._handle:
            self._handle, self._rows = task.rows, open_rows(task.rows, self._machine)
        layout = Layout(sent, batchnorm=task.batchnorm)
        answers = [
            self._answer(task, layout, seat, result)
            for cohort in task.cohorts
            for seat, result in _fit(task, cohort, list(sent.values()))
        ]
        return Done(answers, time.perf_counter() - start)

    def measure(self, make_client: MakeClient, config: RunConfig, client: int, largest: int) -> dict[int, float]:
        """Return the examples trained in a second by cohort size (:func:`~fedsec.engine.throughput.measure`)."""
        try:
            typical = make_client(config, client)
            return measure(typical, largest) if isinstance(typical, BenignClient) else {1: 1.0}
        except Exception:  # which is its answer when it is to train
            return {1: 1.0}

    def _answer(self, task: Task, layout: Layout, seat: Seat, result: Fitted | Exception) -> Answer:
        try:
            if isinstance(result, Exception):
                raise result
            arrays, records = read_fitted(layout.sent, result)
        except Exception as error:
            reason = last_line(f"{type(error).__name__}: {error}")
            return Answer(seat, None, f"error {ErrorCode.CLIENT_APP_RAISED_EXCEPTION}: {reason}")
        metrics = dict(records["metrics"])
        row = np.empty(layout.width, np.float32) if self._rows is None else self._rows[seat.row, : layout.width]
        side = np.empty(layout.side_width)
        reply = Reply(seat.client, lambda: arrays, metrics["num-examples"], metrics.get("loss"))
        try:
            admitted = admit(reply, layout, task.limits, row, side)
        except Exception as error:  # a client may return anything
            return Answer(seat, None, reason_of(error))
        return Answer(seat, admitted, "", metrics, side, row if self._rows is None else None)


def _fit(task: Task, cohort: Sequence[Seat], parameters: NDArrays) -> list[tuple[Seat, Fitted | Exception]]:
    """Return what each client of a cohort returns or raises: trained at once where that is possible."""
    clients: dict[Seat, NumPyClient] = {}
    results: dict[Seat, Fitted | Exception] = {}
    for seat in cohort:
        try:
            clients[seat] = task.make_client(task.config, seat.client)
        except Exception as error:
            results[seat] = error
    results |= _fit_together(task, clients, parameters)
    for seat in clients.keys() - results.keys():
        try:
            results[seat] = clients[seat].fit(parameters, {"server-round": task.server_round})
        except Exception as error:
            results[seat] = error
    return [(seat, results[seat]) for seat in cohort]


def _fit_together(task: Task, clients: Mapping[Seat, NumPyClient], parameters: NDArrays) -> dict[Seat, Fitted]:
    """Train those clients at once that can be; the others are left out, and all of them where that fails."""
    plain = {
        seat: client
        for seat, client in clients.items()
        if isinstance(client, BenignClient) and type(client).fit is BenignClient.fit and client.task.grouped is not None
    }
    if len(plain) < 2:
        return {}
    shared = next(iter(plain.values())).task
    try:
        plain = {seat: client for seat, client in plain.items() if _shared(client.task) == _shared(shared)}
        members = {seat: client.member(parameters, task.server_round) for seat, client in plain.items()}
        members = {seat: member for seat, member in members.items() if len(member.labels)}
        fitted = fit_cohort(shared, list(members.values()))
    except Exception:  # whoever is at fault fails alone as well, and alone
        return {}
    return dict(zip(members, fitted, strict=True))


def _shared(task: LocalTask) -> tuple[Any, ...]:
    """Return what clients must have in common to be trained at once."""
    return task.grouped, task.settings, task.device, task.normalise
