"""The same strategies for Flower's older interface, ``flwr.server.strategy``."""

from collections.abc import Sequence
from logging import WARNING
from typing import Any

from flwr.common import (
    EvaluateRes,
    FitIns,
    FitRes,
    Parameters,
    Scalar,
    ndarrays_to_parameters,
    parameters_to_ndarrays,
)
from flwr.common.logger import log
from flwr.server.client_manager import ClientManager
from flwr.server.client_proxy import ClientProxy
from flwr.server.strategy import FedAvg

from fedsec.strategies.decoding import decode_parameters
from fedsec.strategies.intake import Dropped, Reply, checked_examples, is_finite_number, reason_of
from fedsec.strategies.layout import Arrays, BadReplyError
from fedsec.strategies.replies import HIGHEST_EXAMPLES, last_line
from fedsec.strategies.robust import RobustStrategy


class LegacyStrategy(FedAvg):
    """A defense behind Flower's older strategy interface.

    ``LegacyStrategy(Krum(num_malicious=2), min_fit_clients=10)`` takes the place of
    ``flwr.server.strategy.FedAvg(min_fit_clients=10)``. The older interface sends arrays without names. Without
    ``names``, BatchNorm's floating-point statistics cannot be told from parameters: they are judged with them, and
    a defense that adds noise adds it to variances too. Integer arrays are kept apart as always.

    Args:
        defense: any strategy of :mod:`fedsec.strategies`; its own sampling and keys are not used.
        names: the arrays' names in the order in which they are sent, as ``model.state_dict()`` has them.
        **fedavg: keywords of ``flwr.server.strategy.FedAvg``.
    """

    def __init__(self, defense: RobustStrategy, *, names: Sequence[str] | None = None, **fedavg: Any) -> None:
        super().__init__(**fedavg)
        self.defense = defense
        self.names = None if names is None else tuple(names)
        self._asked: tuple[int, ...] = ()

    def __repr__(self) -> str:
        """Name the defense."""
        return f"LegacyStrategy({type(self.defense).__name__})"

    def configure_fit(
        self, server_round: int, parameters: Parameters, client_manager: ClientManager
    ) -> list[tuple[ClientProxy, FitIns]]:
        """Remember the parameters and whom they go to; tell the clients the round."""
        self.defense.remember(self._named(parameters))
        asked = super().configure_fit(server_round, parameters, client_manager)
        self._asked = tuple(client.node_id for client, _ in asked)
        # The project's function may return one and the same dictionary every round: it is copied, never changed.
        return [
            (client, FitIns(instructions.parameters, {"server-round": server_round, **instructions.config}))
            for client, instructions in asked
        ]

    def aggregate_fit(
        self,
        server_round: int,
        results: list[tuple[ClientProxy, FitRes]],
        failures: list[tuple[ClientProxy, FitRes] | BaseException],
    ) -> tuple[Parameters | None, dict[str, Scalar]]:
        """Judge the results; return the new global parameters, or ``None`` for a skipped round."""
        replies = [self._reply(client, result) for client, result in results]
        failed = [_failure(*failure) for failure in failures if isinstance(failure, tuple)]
        if not self.accept_failures and failures:
            self.defense.skip(server_round, f"{len(failures)} failures, and accept_failures is off")
            return None, {}
        answered = {reply.node_id for reply in replies} | {client.node_id for client in failed}
        reason = _silence([failure for failure in failures if isinstance(failure, BaseException)])
        failed += [Dropped(node_id, reason) for node_id in self._asked if node_id not in answered]
        arrays = self.defense.judge(server_round, replies, failed, self._asked)
        if arrays is None or self.defense.outcome is None:
            return None, {}
        good = set(self.defense.outcome.node_ids)
        metrics = [(result.num_examples, result.metrics) for client, result in results if client.node_id in good]
        return ndarrays_to_parameters(list(arrays.values())), self._aggregated(self.fit_metrics_aggregation_fn, metrics)

    def aggregate_evaluate(
        self,
        server_round: int,
        results: list[tuple[ClientProxy, EvaluateRes]],
        failures: list[tuple[ClientProxy, EvaluateRes] | BaseException],
    ) -> tuple[float | None, dict[str, Scalar]]:
        """Average the losses of the usable results, each client alike; the others are logged and left out."""
        usable: list[EvaluateRes] = []
        for client, result in results:
            try:
                checked_examples(result.num_examples, HIGHEST_EXAMPLES)
                if not is_finite_number(result.loss):
                    raise BadReplyError("its loss is NaN, infinite or no number")
                usable.append(result)
            except Exception as error:  # a client may send anything
                reason = reason_of(error)
                log(WARNING, "round %d: evaluation of node %d left out: %s", server_round, client.node_id, reason)
        if not usable or (failures and not self.accept_failures):
            return None, {}
        metrics = [(result.num_examples, result.metrics) for result in usable]
        loss = sum(result.loss for result in usable) / len(usable)
        return loss, self._aggregated(self.evaluate_metrics_aggregation_fn, metrics)

    def _named(self, parameters: Parameters) -> Arrays:
        arrays = parameters_to_ndarrays(parameters)
        names = self.names or [str(index) for index in range(len(arrays))]
        if len(names) != len(arrays):
            raise BadReplyError(f"{len(arrays)} arrays; expected {len(names)}")
        return dict(zip(names, arrays, strict=True))

    def _reply(self, client: ClientProxy, result: FitRes) -> Reply:
        loss = result.metrics.get("loss") if isinstance(result.metrics, dict) else None
        sent = self.defense.sent
        return Reply(client.node_id, lambda: decode_parameters(result.parameters, sent), result.num_examples, loss)

    def _aggregated(self, aggregate: Any, metrics: list[tuple[int, dict[str, Scalar]]]) -> dict[str, Scalar]:
        if aggregate is None:
            return {}
        try:
            return dict(aggregate(metrics))
        except Exception as error:  # the metrics are claims of clients too: they must not stop a run
            told = last_line(f"{type(error).__name__}: {error}")
            log(WARNING, "the clients' metrics could not be aggregated (%s)", told)
            return {}


def _failure(client: ClientProxy, result: FitRes) -> Dropped:
    return Dropped(client.node_id, f"{result.status.code.name}: {result.status.message}")


def _silence(errors: Sequence[BaseException]) -> str:
    """Say why a client did not answer. The older interface does not tell whose error an exception is."""
    if not errors:
        return "no answer"
    texts = dict.fromkeys(f"{type(error).__name__}: {last_line(str(error))}"[:150] for error in errors)
    return f"no answer; errors of this round: {'; '.join(list(texts)[:3])}"
