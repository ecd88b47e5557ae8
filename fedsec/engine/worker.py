"""What a process of the cohort engine does: train the clients it is given, and write each one's update into its row."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from flwr.client import NumPyClient
from flwr.common import NDArrays, Scalar
from flwr.common.constant import ErrorCode
from numpy.typing import NDArray

from fedsec.client_app import fill_classes
from fedsec.clients import BenignClient
from fedsec.clients.app import read_fitted
from fedsec.clients.benign import Fitted, fit_cohort
from fedsec.defenses.updates import Matrix, Vector
from fedsec.engine.rows import RowsHandle, open_rows
from fedsec.engine.throughput import measure
from fedsec.notes import note_in
from fedsec.runs.config import RunConfig
from fedsec.runs.filling import FillingRecord
from fedsec.strategies.intake import Admitted, Limits, Reply, admit, reason_of
from fedsec.strategies.layout import BatchNorm, Layout
from fedsec.strategies.replies import last_line

MakeClient = Callable[[RunConfig, int], NumPyClient]


class Seat(NamedTuple):
    """A client of a round: which of a task's runs it belongs to, its row of that run's matrix, its partition."""

    run: int
    row: int
    client: int


@dataclass(frozen=True, slots=True)
class RoundOfRun:
    """What is the same for all clients of one run in one round.

    Attributes:
        make_client: from the configuration and a partition to its client.
        config: the run's configuration.
        server_round: the round.
        rows: the matrix, where its memory is shared.
        limits: bounds beyond which a reply is nonsense.
        batchnorm: whether BatchNorm's statistics are kept apart.
        run: the run's name, under which clients keep their states.
    """

    make_client: MakeClient
    config: RunConfig
    server_round: int
    rows: RowsHandle | None
    limits: Limits
    batchnorm: BatchNorm
    run: str = "run"


@dataclass(frozen=True, slots=True)
class Task:
    """What one worker does in one round: for one run, or for several runs of a sweep that go on at once.

    Attributes:
        runs: the runs.
        cohorts: the clients, those that are trained at once together.
    """

    runs: tuple[RoundOfRun, ...]
    cohorts: tuple[tuple[Seat, ...], ...]


class Answer(NamedTuple):
    """What came of one client.

    Attributes:
        seat: the client and its row.
        admitted: what its reply claims, or ``None`` where it is dropped.
        reason: why it is dropped.
        metrics: the numbers that it reports.
        side: (side_width,) what is kept apart of its update.
        row: (d,) its update, where the matrix is not shared.
        note: what it has to say beside numbers.
    """

    seat: Seat
    admitted: Admitted | None
    reason: str = ""
    metrics: Mapping[str, object] | None = None
    side: Vector | None = None
    row: NDArray[np.float32] | None = None
    note: str = ""


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
        self._opened: dict[RowsHandle | None, Matrix | None] = {None: None}

    def train(self, task: Task, *sent: Mapping[str, NDArray[np.generic]]) -> Done:
        """Train the clients of a task; whatever a client raises is its answer.

        Args:
            task: the clients.
            *sent: the global model of each of the task's runs.
        """
        start = time.perf_counter()
        handles = {run.rows for run in task.runs} | {None}
        self._opened = {
            handle: self._opened[handle] if handle in self._opened else open_rows(handle, self._machine)
            for handle in handles
        }
        layouts = [Layout(arrays, batchnorm=run.batchnorm) for run, arrays in zip(task.runs, sent, strict=True)]
        answers = [
            self._answer(task.runs[seat.run], layouts[seat.run], seat, result)
            for cohort in task.cohorts
            for seat, result in _fit(task, cohort, sent)
        ]
        return Done(answers, time.perf_counter() - start)

    def fill(self, config: RunConfig, client: int) -> FillingRecord | str:
        """Let a client fill its classes; return what came of it, or why it could not."""
        try:
            return fill_classes(config, client)
        except Exception as error:
            return _told(error)

    def measure(self, make_client: MakeClient, config: RunConfig, client: int, largest: int) -> dict[int, float]:
        """Return the examples trained in a second by cohort size (:func:`~fedsec.engine.throughput.measure`)."""
        try:
            typical = make_client(config, client)
            return measure(typical, largest) if isinstance(typical, BenignClient) else {1: 1.0}
        except Exception:  # which is its answer when it is to train
            return {1: 1.0}

    def _answer(self, run: RoundOfRun, layout: Layout, seat: Seat, result: Fitted | Exception) -> Answer:
        try:
            if isinstance(result, Exception):
                raise result
            arrays, records = read_fitted(layout.sent, result)
        except Exception as error:
            return Answer(seat, None, f"error {ErrorCode.CLIENT_APP_RAISED_EXCEPTION}: {_told(error)}")
        metrics, rows = dict(records["metrics"]), self._opened[run.rows]
        row = np.empty(layout.width, np.float32) if rows is None else rows[seat.row]
        side = np.empty(layout.side_width)
        reply = Reply(seat.client, lambda: arrays, metrics["num-examples"], metrics.get("loss"))
        try:
            admitted = admit(reply, layout, run.limits, row, side)
        except Exception as error:  # a client may return anything
            return Answer(seat, None, reason_of(error))
        note = note_in(records.get("notes"))
        return Answer(seat, admitted, "", metrics, side, row if rows is None else None, note)


def _told(error: Exception) -> str:
    """Return an error's name and its last line. It is a client's own: even to ask for its text may fail."""
    try:
        return last_line(f"{type(error).__name__}: {error}")
    except Exception:
        return type(error).__name__


def _fit(
    task: Task, cohort: Sequence[Seat], sent: Sequence[Mapping[str, NDArray[np.generic]]]
) -> list[tuple[Seat, Fitted | Exception]]:
    """Return what each client of a cohort returns or raises: trained at once where that is possible."""
    clients: dict[Seat, NumPyClient] = {}
    results: dict[Seat, Fitted | Exception] = {}
    parameters = [list(arrays.values()) for arrays in sent]
    for seat in cohort:
        try:
            clients[seat] = task.runs[seat.run].make_client(task.runs[seat.run].config, seat.client)
        except Exception as error:
            results[seat] = error
    for alike in _alike(clients):
        results |= _fit_together(task, alike, parameters)
    for seat in clients.keys() - results.keys():
        of_run = task.runs[seat.run]
        config: dict[str, Scalar] = {"server-round": of_run.server_round, "run": of_run.run}
        try:
            # A list of its own: what a client does to it must not reach the next one.
            results[seat] = clients[seat].fit(list(parameters[seat.run]), config)
        except Exception as error:
            results[seat] = error
    return [(seat, results[seat]) for seat in cohort]


def _alike(clients: Mapping[Seat, NumPyClient]) -> list[dict[Seat, BenignClient]]:
    """Return the clients that can be trained at once, several in each group."""
    groups: dict[tuple[Any, ...], dict[Seat, BenignClient]] = {}
    for seat, client in clients.items():
        if (
            isinstance(client, BenignClient)
            and type(client).fit is BenignClient.fit
            and client.task.grouped is not None
        ):
            task = client.task
            groups.setdefault((task.grouped, task.settings, task.device, task.normalise), {})[seat] = client
    return [group for group in groups.values() if len(group) > 1]


def _fit_together(
    task: Task, clients: Mapping[Seat, BenignClient], parameters: Sequence[NDArrays]
) -> dict[Seat, Fitted]:
    """Train clients at once; those without examples are left out, and all of them where that fails."""
    try:
        members = {
            seat: client.member(parameters[seat.run], task.runs[seat.run].server_round)
            for seat, client in clients.items()
        }
        members = {seat: member for seat, member in members.items() if len(member.labels)}
        fitted = fit_cohort(next(iter(clients.values())).task, list(members.values()))
    except Exception:  # whoever is at fault fails alone as well, and alone
        return {}
    return dict(zip(members, fitted, strict=True))
