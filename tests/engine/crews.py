"""Workers in this process, whose clients may kill them or never return."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.client import NumPyClient
from flwr.common import NDArrays, Scalar

from fedsec.defenses.updates import Vector
from fedsec.engine.crew import WorkerDiedError
from fedsec.engine.pool import Request, Trained
from fedsec.engine.rows import open_rows
from fedsec.engine.worker import MakeClient, RoundOfRun, Seat, Task, Worker
from fedsec.strategies.intake import Limits
from fedsec.strategies.layout import Layout
from tests.strategies.toy import CLIENTS, initial_arrays, trained

HERE = "here"


class KilledError(BaseException):
    """Stands for the end of a worker's process."""


class StuckError(BaseException):
    """Stands for a client that does not return for very long."""


@dataclass(eq=False)
class Call:
    worker: int
    method: str
    arguments: tuple[Any, ...]
    result: Any = None
    finished: bool = False
    stuck: bool = False


class LocalCrew:
    """Does what its workers are called for while somebody waits for them; the last call first.

    Attributes:
        replaced: workers that were replaced, in order.
        settled: how many of them were waited for.
        calls: every call, in order.
        late: the rows that clients which are stuck may yet write to.
        closed: whether the workers were ended.
    """

    machine = HERE

    def __init__(self, *machines: str) -> None:
        self.machines = machines or (HERE, HERE)
        self.workers = [Worker(machine) for machine in self.machines]
        self.replaced: list[int] = []
        self.settled = 0
        self.calls: list[Call] = []
        self.late: list[Vector] = []
        self.closed = False

    def __len__(self) -> int:
        return len(self.workers)

    def share(self, value: Any) -> Any:
        return value

    def call(self, worker: int, method: str, *arguments: Any) -> Call:
        self.calls.append(Call(worker, method, arguments))
        return self.calls[-1]

    def wait(self, calls: Sequence[Call], timeout: float | None = None) -> list[Call]:
        for call in reversed(calls):
            self._do(call)
            if call.finished:
                return [call]
        return []

    def result(self, call: Call) -> Any:
        self._do(call)
        if isinstance(call.result, BaseException):
            raise call.result
        return call.result

    def replace(self, worker: int) -> None:
        self.replaced.append(worker)
        self.workers[worker] = Worker(self.machines[worker])

    def settle(self) -> None:
        self.settled = len(self.replaced)

    def close(self) -> None:
        self.closed = True

    def write_late(self) -> None:
        """Let every client that is stuck write its row now."""
        for row in self.late:
            row[:] = np.nan

    def _do(self, call: Call) -> None:
        if call.finished or call.stuck:
            return
        try:
            call.result = getattr(self.workers[call.worker], call.method)(*call.arguments)
        except KilledError:
            call.result = WorkerDiedError("killed")
        except StuckError:
            call.stuck = True
            task: Task = call.arguments[0]
            matrices = [open_rows(run.rows, self.machines[call.worker]) for run in task.runs]
            seats = (seat for cohort in task.cohorts for seat in cohort)
            self.late += [rows[seat.row] for seat in seats if (rows := matrices[seat.run]) is not None]
            return
        call.finished = True


class ToyClient(NumPyClient):
    """Trains like the client ``client`` of tests/strategies/toy.py; what it returns goes through ``spoil``."""

    def __init__(self, client: int, spoil: Callable[[Any], Any] = lambda fitted: fitted) -> None:
        super().__init__()
        self.client, self.spoil = client, spoil

    def fit(self, parameters: NDArrays, config: dict[str, Scalar]) -> Any:
        sent = dict(zip(initial_arrays(), parameters, strict=True))
        return self.spoil((list(trained(self.client, sent).values()), 10 + self.client, {"loss": 0.1 * self.client}))


def maker(spoils: Mapping[int, Callable[[Any], Any]] | None = None) -> MakeClient:
    """Return a function that makes toy clients; those in ``spoils`` do something to what they return."""
    return lambda config, client: ToyClient(client, (spoils or {}).get(client, lambda fitted: fitted))


def raises(error: BaseException) -> Callable[[Any], Any]:
    """Return what makes a toy client raise ``error``."""

    def spoil(fitted: Any) -> Any:
        raise error

    return spoil


def run_of(make: MakeClient, **changes: Any) -> RoundOfRun:
    """Return a round of a run of toy clients."""
    given: dict[str, Any] = {"config": None, "server_round": 1, "rows": None, "limits": Limits(), "batchnorm": "apart"}
    return RoundOfRun(make_client=make, **given | changes)


def task_of(run: RoundOfRun, *cohorts: Sequence[int]) -> Task:
    """Return a task for these clients; a client's row is its place among all of them in ascending order."""
    row = {client: row for row, client in enumerate(sorted(client for cohort in cohorts for client in cohort))}
    return Task((run,), tuple(tuple(Seat(0, row[client], client) for client in cohort) for cohort in cohorts))


EVERYBODY = tuple(range(CLIENTS))

WIDTH = 16
"""Parameters of the toy model, without the statistics of its BatchNorm."""


def request_of(make: MakeClient, clients: Iterable[int] = EVERYBODY, **changes: Any) -> Request:
    """Return what a run of toy clients wants of a pool in one round; each has as many examples as it claims."""
    given: dict[str, Any] = {"cohort_size": 2, "timeout": 60.0, "sent": initial_arrays(), "width": WIDTH}
    given["workloads"] = {client: 10 + client for client in clients}
    return Request(run=run_of(make), **given | changes)


def update_of(client: int) -> bytes:
    """Return the row of an honest toy client."""
    layout, row = Layout(initial_arrays()), np.empty(WIDTH, np.float32)
    layout.write(trained(client, initial_arrays()), row, np.empty(layout.side_width))
    return row.tobytes()


def good_rows(trained_run: Trained) -> dict[int, bytes]:
    """Return the row of every client that is not dropped."""
    return {a.seat.client: trained_run.rows[a.seat.row].tobytes() for a in trained_run.answers if a.admitted}


def reasons(trained_run: Trained) -> dict[int, str]:
    """Return why clients are dropped."""
    return {answer.seat.client: answer.reason for answer in trained_run.answers if answer.admitted is None}
