"""The clients of a run as cohorts in the workers of a pool: the strategy gets their matrix without any message."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedsec.client_app import build_client
from fedsec.defenses.updates import Matrix
from fedsec.engine.pool import Request
from fedsec.engine.sweep import Sweep
from fedsec.engine.throughput import best_size
from fedsec.engine.worker import Answer, MakeClient, RoundOfRun
from fedsec.filling import epoch_share
from fedsec.filling_round import LATER, Tell
from fedsec.fleet import Arrays, Enough, Judge, Judged
from fedsec.holdings import holding
from fedsec.nodes import FederationError, NodeReport
from fedsec.objections import objection
from fedsec.observer import Notify
from fedsec.runs.config import RunConfig
from fedsec.runs.filling import FillingRecord
from fedsec.scenario import malicious, triggered_copies
from fedsec.strategies import RobustStrategy
from fedsec.strategies.intake import Dropped, round_updates
from fedsec.strategies.layout import Layout
from fedsec.strategies.replies import mean_of_common
from fedsec.victims import adversary


class CohortFleet:
    """The clients of one run, trained by a pool.

    Args:
        config: the run's configuration.
        sweep: the workers, and the runs that go on beside this one.
        run: name of the run, under which its clients keep their states.
        place: which of these runs it is.
        make_client: from the configuration and a partition to its client.
    """

    def __init__(
        self,
        config: RunConfig,
        sweep: Sweep,
        *,
        run: str = "run",
        place: int = 0,
        make_client: MakeClient = build_client,
    ) -> None:
        self._run = run
        self._config, self._sweep, self._place, self._make_client = config, sweep, place, make_client
        self._workloads: dict[int, int] = {}
        self._rates: Mapping[int, float] = {}
        self._size = 1

    def meet(self, notify: Notify, enough: Enough) -> Mapping[int, NodeReport]:
        """Choose how many clients are trained at once; return what each of them holds."""
        config = self._config
        holdings = {client: holding(config, client) for client in range(config.federation.clients)}
        reports = {
            client: NodeReport(client, client, held.class_counts, held.classes) for client, held in holdings.items()
        }
        for report in reports.values():
            if problem := objection(config, report):
                raise FederationError(f"partition {report.partition}: {problem}")
        self._workloads = {client: _workload(config, client, report.class_counts) for client, report in reports.items()}
        if config.data.balance == "none":
            self._choose_size()
        return reports

    def fill(self, done: Mapping[int, FillingRecord], tell: Tell, notify: Notify) -> None:
        """Let the workers fill the classes of one client after the other, and choose how many to train at once."""
        records = dict(done)
        clients = [client for client in self._workloads if client not in done]
        for client, answer in self._sweep.pool.fill(self._config, clients):
            if isinstance(answer, FillingRecord):
                records[client] = answer
                tell(answer)
            else:
                notify(f"partition {client} could not fill its classes: {answer}; {LATER}")
        self._workloads |= {
            client: math.ceil(_workload(self._config, client, record.after) * epoch_share(self._config, record))
            for client, record in records.items()
        }
        self._choose_size()

    def _choose_size(self) -> None:
        config, pool = self._config, self._sweep.pool
        self._size = config.federation.cohort_size
        if self._size == 0:
            busiest = max(self._workloads, key=lambda client: (self._workloads[client], -client))
            largest = math.ceil(self._sweep.runs * config.clients_per_round / pool.workers)
            self._rates = pool.rates(self._make_client, config, busiest, largest)
            self._size = best_size(self._rates)

    def attend(self, enough: Enough) -> tuple[int, ...]:
        """Return nobody: the clients of a simulation are always there."""
        return ()

    def train(self, strategy: RobustStrategy, server_round: int, arrays: Arrays) -> Judge:
        """Train the clients of a round, a cohort at a time in each worker."""
        strategy.remember(arrays)
        federation = self._config.federation
        name, limits = self._run, strategy.limits
        run = RoundOfRun(self._make_client, self._config, server_round, None, limits, strategy.batchnorm, name)
        chosen = strategy.sample(server_round, sorted(self._workloads))
        request = Request(
            run=run,
            workloads={client: self._workloads[client] for client in chosen},
            sent=arrays,
            width=Layout(arrays, batchnorm=strategy.batchnorm).width,
            cohort_size=self._size,
            timeout=federation.round_timeout,
        )
        trained = self._sweep.train(self._place, request)
        return lambda: _judge(strategy, server_round, trained.answers, trained.rows)

    def about(self) -> Mapping[str, Any]:
        """Return the engine's name, its workers, the size of a cohort, and what it was chosen from."""
        rates = {str(size): round(rate, 1) for size, rate in self._rates.items()}
        return {
            "engine": "cohort",
            "workers": self._sweep.pool.workers,
            "cohort_size": self._size,
            "examples_per_second": rates,
        }


def _workload(config: RunConfig, client: int, class_counts: Sequence[int]) -> int:
    """Return how many examples a client trains on in an epoch, its triggered copies among them."""
    copies = triggered_copies(config, client, class_counts) if client in malicious(config) else 0
    if client == adversary(config):
        return config.attack.fakes + 2 * config.attack.updates * config.federation.batch_size
    own, most = sum(class_counts), config.federation.draw or sum(class_counts) + copies
    twice = copies and config.attack.evasion != "none"  # it trains an honest model as well
    return min(own + copies, most) + (min(own, most) if twice else 0)


def _judge(strategy: RobustStrategy, server_round: int, answers: list[Answer], rows: Matrix) -> Judged:
    good = [answer for answer in answers if answer.admitted is not None]
    for place, answer in enumerate(good):
        if place != answer.seat.row:  # a client before it was dropped
            rows[place] = rows[answer.seat.row]
    updates = round_updates([answer.admitted for answer in good if answer.admitted], rows[: len(good)])
    side = np.stack([answer.side for answer in good if answer.side is not None]) if good else np.empty((0, 0))
    dropped = [Dropped(answer.seat.client, answer.reason) for answer in answers if answer.admitted is None]
    notes = {answer.seat.client: answer.note for answer in good if answer.note}
    judged = strategy.judge_updates(server_round, updates, side, dropped)
    if judged is None:
        return Judged(None, {}, notes)
    return Judged(judged, mean_of_common([answer.metrics or {} for answer in good], strategy.weighted_by_key), notes)
