"""The base of all strategies: it checks the replies, lets a defense judge them, and keeps the verdict."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from logging import ERROR, WARNING
from typing import Any, ClassVar, cast, get_args

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Result
from numpy.typing import NDArray

from fedsec.defenses.updates import (
    OptionError,
    RoundUpdates,
    TooFewClientsError,
    Vector,
    Verdict,
    check_choice,
    check_whole,
)
from fedsec.guard import GuardedGrid
from fedsec.seeds import Purpose, generator
from fedsec.strategies.decoding import decoded
from fedsec.strategies.intake import Dropped, Intake, Limits, Reply
from fedsec.strategies.layout import Arrays, BatchNorm, Layout, median_apart
from fedsec.strategies.outcome import RoundOutcome
from fedsec.strategies.replies import last_line, mean_of_common_metrics, reply_from_message, usable_evaluations


class RobustStrategy(FedAvg, ABC):
    """FedAvg with its average replaced by a defense. A subclass is its constructor and :meth:`defend`.

    A reply with the wrong keys, shapes or dtypes, with NaN or infinity, with a senseless number of examples,
    with an error, or that does not come in time, is dropped and noted in :attr:`outcome`; it never raises and
    never reaches the global model. With fewer than ``min_replies`` good replies, or fewer than the defense
    needs, the round is skipped and the global model stays.

    Args:
        seed: seed of the defense's noise and, with :meth:`use_partitions`, of the sampling of clients.
        min_replies: fewest good replies with which a round counts.
        batchnorm: ``"apart"`` keeps BatchNorm's statistics out of what the defense sees and takes the median of
            those that it let through; ``"included"`` treats them as parameters.
        limits: bounds beyond which a reply is nonsense.
        **fedavg: keywords of ``flwr.serverapp.strategy.FedAvg``.

    Attributes:
        needs_loss: whether a reply without a finite loss is dropped.
    """

    needs_loss: ClassVar[bool] = False

    def __init__(
        self,
        *,
        seed: int = 0,
        min_replies: int = 1,
        batchnorm: BatchNorm = "apart",
        limits: Limits | None = None,
        **fedavg: Any,
    ) -> None:
        # Claims of clients weigh nothing by default, in the metrics no more than in the model.
        fedavg.setdefault("train_metrics_aggr_fn", mean_of_common_metrics)
        fedavg.setdefault("evaluate_metrics_aggr_fn", mean_of_common_metrics)
        super().__init__(**fedavg)
        check_choice("batchnorm", batchnorm, get_args(BatchNorm))
        check_whole("seed", seed, at_least=0)
        check_whole("min_replies", min_replies, at_least=0)
        self.seed = seed
        self.min_replies = min_replies
        self.batchnorm: BatchNorm = batchnorm
        limits = limits or Limits()
        self.limits = replace(limits, needs_loss=limits.needs_loss or self.needs_loss)
        self.outcome: RoundOutcome | None = None
        self._intake = Intake()
        self._layout: Layout | None = None
        self._side: Vector = np.empty((0, 0))
        self._asked: tuple[int, ...] = ()
        self._evaluators: frozenset[int] = frozenset()
        self._partition_of: Mapping[int, int] | None = None

    @abstractmethod
    def defend(self, updates: RoundUpdates, rng: np.random.Generator) -> Verdict:
        """Judge one round's updates. Called with at least ``min_replies`` of them."""

    def combine_apart(self, side: Vector, weights: Vector) -> Vector:
        """Return the change of what a defense does not see: BatchNorm's statistics, integers.

        Args:
            side: (n, width) each client's change.
            weights: (n,) of the verdict.
        """
        return median_apart(side, weights)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return what must outlive a restart of the server, for the checkpoint. Most defenses keep nothing."""
        return {}

    def load_state(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take back what :meth:`state` returned."""
        if state:
            raise ValueError(f"{type(self).__name__} keeps no state; the checkpoint holds {sorted(state)}.")

    def use_partitions(self, partition_of: Mapping[int, int]) -> None:
        """Name, sort and sample the nodes by these partitions instead of Flower's node ids, which are random.

        Args:
            partition_of: partition of each node id. Nodes that are not in it are never asked.
        """
        self._partition_of = dict(partition_of)

    def sample(self, server_round: int, partitions: Sequence[int]) -> list[int]:
        """Return which of the available ``partitions`` (ascending) train in this round, ascending."""
        size = min(len(partitions), max(round(len(partitions) * self.fraction_train), self.min_train_nodes))
        rng = generator(self.seed, Purpose.SAMPLING, server_round)
        return [partitions[i] for i in sorted(rng.choice(len(partitions), size, replace=False).tolist())]

    @property
    def global_vector(self) -> NDArray[np.float64]:
        """The global model (d,) that this round's clients were sent."""
        return self._sent().global_vector()

    @property
    def sent(self) -> Arrays:
        """The arrays that this round's clients were sent, by name."""
        return self._sent().sent

    def local_model(self, updates: RoundUpdates, row: int) -> dict[str, NDArray[np.generic]]:
        """Return the arrays that the client of a ``row`` of this round's updates sent, but for float32's rounding."""
        return self._sent().rebuild(updates.deltas[row], self._side[row])

    # What Flower calls.

    def start(self, grid: Grid, *args: Any, **keywords: Any) -> Result:
        """Run the rounds, as ``flwr.serverapp.strategy.Strategy.start`` does, on a guarded grid."""
        return super().start(GuardedGrid(grid), *args, **keywords)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Remember the arrays and whom they go to; sample by partition where the partitions are known."""
        self.remember(decoded(arrays))
        if self._partition_of is None:
            messages = list(super().configure_train(server_round, arrays, config, grid))
        else:
            config["server-round"] = server_round
            content = RecordDict({self.arrayrecord_key: arrays, self.configrecord_key: config})
            sampled = self._sampled_nodes(server_round, grid)
            messages = list(self._construct_messages(content, sampled, MessageType.TRAIN))
        self._asked = tuple(message.metadata.dst_node_id for message in messages)
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Judge the replies; return the new global arrays and the clients' metrics, or ``None`` for a skipped round."""
        messages = list(replies)
        read = [reply_from_message(message, self.weighted_by_key, self.sent) for message in messages]
        contents: dict[int, RecordDict] = {}  # of each node's first reply, which is the one that can be used
        for message, reply in zip(messages, read, strict=True):
            if isinstance(reply, Reply):
                contents.setdefault(reply.node_id, message.content)
        arrays = self.judge(server_round, [r for r in read if isinstance(r, Reply)], _dropped(read), self._asked)
        if arrays is None or self.outcome is None:
            return None, None
        good = set(self.outcome.node_ids)
        used = [contents[node_id] for node_id in sorted(contents) if self._name(node_id) in good]
        record = ArrayRecord({key: Array(array) for key, array in arrays.items()})
        return record, self._metrics(self.train_metrics_aggr_fn, used)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Remember who is asked."""
        messages = list(super().configure_evaluate(server_round, arrays, config, grid))
        self._evaluators = frozenset(message.metadata.dst_node_id for message in messages)
        return messages

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Average the metrics of the usable replies; the others are logged and left out."""
        contents, dropped = usable_evaluations(replies, self.weighted_by_key, self._evaluators)
        for client in dropped:
            log(WARNING, "round %d: evaluation of node %d left out: %s", server_round, client.node_id, client.reason)
        return self._metrics(self.evaluate_metrics_aggr_fn, contents) if contents else None

    # What Flower's adapters, new and legacy, share.

    def remember(self, sent: Arrays) -> None:
        """Keep the arrays that a round's clients are sent; their updates are measured from them."""
        self._layout = Layout(sent, batchnorm=self.batchnorm)

    def judge(
        self, server_round: int, replies: Iterable[Reply], failed: Iterable[Dropped], asked: Iterable[int]
    ) -> dict[str, NDArray[np.generic]] | None:
        """Check the replies, let the defense judge the good ones, set :attr:`outcome`; return the new global arrays.

        Args:
            server_round: which round.
            replies: what the clients sent, unchecked.
            failed: clients known to have failed.
            asked: node ids that were asked; the others' replies are dropped, the silent ones noted.
        """
        start = time.perf_counter()
        layout, asked = self._sent(), set(asked)
        replies, failed = list(replies), list(failed)
        strangers = [Dropped(reply.node_id, "was not asked") for reply in replies if reply.node_id not in asked]
        silent = asked - {reply.node_id for reply in replies} - {client.node_id for client in failed}
        named = [
            Reply(self._name(reply.node_id), reply.arrays, reply.num_examples, reply.loss)
            for reply in replies
            if reply.node_id in asked
        ]
        updates, side, bad = self._intake.collect(named, layout, self.limits)
        others = [*failed, *strangers, *(Dropped(node, "no answer") for node in silent)]
        dropped = bad + [Dropped(self._name(client.node_id), client.reason) for client in others]
        return self.judge_updates(server_round, updates, side, dropped, intake=time.perf_counter() - start)

    def judge_updates(
        self, server_round: int, updates: RoundUpdates, side: Vector, dropped: Iterable[Dropped], *, intake: float = 0.0
    ) -> dict[str, NDArray[np.generic]] | None:
        """Let the defense judge updates that were checked, set :attr:`outcome`; return the new global arrays.

        Args:
            server_round: which round.
            updates: (n, d) of the good replies, sorted by node.
            side: (n, width) what is kept apart of them, see :class:`~fedsec.strategies.layout.Layout`.
            dropped: the clients whose replies are not among them.
            intake: seconds that the check took, for the record.
        """
        start = time.perf_counter()
        self._side = side
        verdict, skipped = self._verdict(server_round, updates)
        seconds = {"intake": intake, "defend": time.perf_counter() - start}
        ids = tuple(int(node) for node in updates.node_ids)
        ordered = tuple(sorted(dropped, key=lambda client: client.node_id))
        examples = tuple(int(count) for count in updates.num_examples)
        losses = () if updates.losses is None else tuple(updates.losses.tolist())
        self.outcome = RoundOutcome(server_round, ids, examples, verdict, ordered, skipped, seconds, losses)
        for client in ordered:
            log(WARNING, "round %d: node %d dropped: %s", server_round, client.node_id, client.reason)
        if verdict is None:
            log(WARNING, "round %d skipped, the global model stays: %s", server_round, skipped)
            return None
        return self._sent().rebuild(verdict.delta, self.combine_apart(side, verdict.weights))

    def skip(self, server_round: int, reason: str) -> None:
        """Note a round that is skipped before any reply is judged."""
        log(WARNING, "round %d skipped, the global model stays: %s", server_round, reason)
        self.outcome = RoundOutcome(server_round, (), (), None, (), reason)

    def _verdict(self, server_round: int, updates: RoundUpdates) -> tuple[Verdict | None, str | None]:
        if len(updates) < max(1, self.min_replies):
            return None, f"{len(updates)} good replies; at least {max(1, self.min_replies)} are needed"
        try:
            verdict = self.defend(updates, generator(self.seed, Purpose.DEFENSE, server_round))
        except TooFewClientsError as error:
            return None, str(error)
        except OptionError:  # the operator's mistake, in every round to come: no client can cause it
            raise
        except Exception as error:  # clients must not be able to stop a run through a defense that fails on them
            log(ERROR, "round %d: %s failed", server_round, type(self).__name__, exc_info=error)
            return None, f"{type(self).__name__} failed ({type(error).__name__}: {error})"
        if not np.isfinite(verdict.delta).all():
            return None, "the defense's result holds NaN or infinity"
        return verdict, None

    def _sent(self) -> Layout:
        if self._layout is None:
            raise RuntimeError("aggregate_train was called before configure_train: no global model is known.")
        return self._layout

    def _name(self, node_id: int) -> int:
        return node_id if self._partition_of is None else self._partition_of.get(node_id, node_id)

    def _sampled_nodes(self, server_round: int, grid: Grid) -> list[int]:
        node_of = {self._name(node): node for node in grid.get_node_ids() if node in (self._partition_of or {})}
        return [node_of[partition] for partition in self.sample(server_round, sorted(node_of))]

    def _metrics(self, aggregate: Any, contents: list[RecordDict]) -> MetricRecord | None:
        try:
            return cast(MetricRecord, aggregate(contents, self.weighted_by_key))
        except Exception as error:  # the metrics are claims of clients too: they must not stop a run
            told = last_line(f"{type(error).__name__}: {error}")
            log(WARNING, "the clients' metrics could not be aggregated (%s)", told)
            return None


def _dropped(read: Iterable[Reply | Dropped]) -> list[Dropped]:
    return [item for item in read if isinstance(item, Dropped)]
