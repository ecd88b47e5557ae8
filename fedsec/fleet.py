"""The clients of a run, wherever they are: behind Flower's Grid here, in the processes of an engine elsewhere."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedsec.filling_round import FillingRound, Tell
from fedsec.guard import GuardedGrid
from fedsec.nodes import NodeReport, listen_closely
from fedsec.notes import note_in
from fedsec.objections import objection
from fedsec.observer import Notify
from fedsec.roster import Roster
from fedsec.runs.config import RunConfig
from fedsec.runs.filling import FillingRecord
from fedsec.strategies import RobustStrategy
from fedsec.strategies.decoding import decoded

Arrays = Mapping[str, NDArray[np.generic]]
Enough = Callable[[int], bool]
"""Tells whether a round can be done with so many clients."""


class Judged(NamedTuple):
    """What came of a round.

    Attributes:
        arrays: the new global arrays, or ``None`` for a skipped round.
        metrics: means of what the clients reported.
        notes: what clients had to say beside that, by partition.
    """

    arrays: dict[str, NDArray[np.generic]] | None
    metrics: Mapping[str, float]
    notes: Mapping[int, str] = {}


Judge = Callable[[], Judged]
"""Lets the strategy judge what came back."""


class Fleet(Protocol):
    """The clients of one run."""

    def meet(self, notify: Notify, enough: Enough) -> Mapping[int, NodeReport]:
        """Wait for the clients; return what each says of itself, by partition; those who come later are added.

        Raises:
            FederationError: the clients cannot run the configuration.
        """

    def fill(self, done: Mapping[int, FillingRecord], tell: Tell, notify: Notify) -> None:
        """Let the clients fill their classes, but for those that are done with it; tell of each that is.

        Args:
            done: what came of it, by partition, where the run was begun before.
            tell: is told of each client that has filled its classes.
            notify: is told of each that could not.
        """

    def attend(self, enough: Enough) -> tuple[int, ...]:
        """Return the partitions that the next round has to do without."""

    def train(self, strategy: RobustStrategy, server_round: int, arrays: Arrays) -> Judge:
        """Let the clients of a round train from ``arrays``; return the function that judges what came back."""

    def about(self) -> Mapping[str, Any]:
        """Return what the clients run on, for the record; ``engine`` is its name."""


class GridFleet:
    """Clients behind a Grid: Flower's simulation, a deployment, or this process.

    Args:
        grid: connection to the nodes.
        config: the run's configuration.
        engine: what runs the nodes.
        run: name of the run, under which clients keep their states.
    """

    def __init__(self, grid: Grid, config: RunConfig, *, engine: str, run: str = "run") -> None:
        listen_closely(grid)
        self._grid = GuardedGrid(grid)
        self._config, self._engine, self._run = config, engine, run
        self._roster: Roster | None = None

    def meet(self, notify: Notify, enough: Enough) -> Mapping[int, NodeReport]:
        """Wait until every partition has its node, or as many as the configuration is content with."""
        federation = self._config.federation
        self._roster = Roster(
            self._grid,
            federation.clients,
            federation.node_timeout,
            notify,
            objection=partial(objection, self._config),
            min_clients=federation.min_clients,
            shortage=federation.shortage,
        )
        self._roster.meet(enough)
        return self._roster.heard

    def fill(self, done: Mapping[int, FillingRecord], tell: Tell, notify: Notify) -> None:
        """Ask the nodes that are connected; others fill their classes when they are to train."""
        federation = self._config.federation
        stage = FillingRound(self._grid, self._met().look, tell, notify)
        stage.finish(done, federation.balance_timeout, federation.node_timeout)

    def attend(self, enough: Enough) -> tuple[int, ...]:
        """Return the partitions without a node; wait first where one is missing."""
        return self._met().attend(enough)

    def train(self, strategy: RobustStrategy, server_round: int, arrays: Arrays) -> Judge:
        """Send the arrays to the nodes of the round and wait for their replies."""
        partition_of = self._met().partition_of
        strategy.use_partitions(partition_of)
        record = ArrayRecord({key: Array(np.asarray(array)) for key, array in arrays.items()})
        messages = strategy.configure_train(server_round, record, ConfigRecord({"run": self._run}), self._grid)
        replies = list(self._grid.send_and_receive(messages, timeout=self._config.federation.round_timeout))

        def judge() -> Judged:
            judged, metrics = strategy.aggregate_train(server_round, replies)
            numbers = {key: float(value) for key, value in (metrics or {}).items() if isinstance(value, int | float)}
            return Judged(None if judged is None else decoded(judged), numbers, _notes(replies, partition_of))

        return judge

    def about(self) -> Mapping[str, Any]:
        """Return the engine's name."""
        return {"engine": self._engine}

    def _met(self) -> Roster:
        if self._roster is None:
            raise RuntimeError("the fleet was used before it was met")
        return self._roster


def _notes(replies: Iterable[Message], partition_of: Mapping[int, int]) -> dict[int, str]:
    """Return what the nodes of a round had to say, the last word of each."""
    said = {
        partition_of[reply.metadata.src_node_id]: note_in(reply.content.config_records.get("notes"))
        for reply in replies
        if reply.has_content() and reply.metadata.src_node_id in partition_of
    }
    return {partition: note for partition, note in said.items() if note}
