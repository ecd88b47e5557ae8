"""The clients of a run, wherever they are: behind Flower's Grid here, in the processes of an engine elsewhere."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedsec.nodes import NodeReport, listen_closely
from fedsec.roster import Roster
from fedsec.runs.config import RunConfig
from fedsec.strategies import RobustStrategy
from fedsec.strategies.robust import decoded

Arrays = Mapping[str, NDArray[np.generic]]
NewArrays = dict[str, NDArray[np.generic]] | None
Notify = Callable[[str], None]
Judge = Callable[[], tuple[NewArrays, Mapping[str, float]]]
"""Lets the strategy judge what came back: the new global arrays, ``None`` for a skipped round, and the metrics."""


class Fleet(Protocol):
    """The clients of one run."""

    def meet(self, notify: Notify) -> Mapping[int, NodeReport]:
        """Wait for every client; return what each says of itself, by partition.

        Raises:
            FederationError: the clients cannot run the configuration.
        """

    def attend(self, enough: Callable[[int], bool]) -> tuple[int, ...]:
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
    """

    def __init__(self, grid: Grid, config: RunConfig, *, engine: str) -> None:
        self._grid, self._federation, self._engine = grid, config.federation, engine
        self._roster: Roster | None = None

    def meet(self, notify: Notify) -> Mapping[int, NodeReport]:
        """Wait until every partition has its node."""
        listen_closely(self._grid)
        self._roster = Roster(self._grid, self._federation.clients, self._federation.node_timeout, notify)
        self._roster.meet()
        return self._roster.reports

    def attend(self, enough: Callable[[int], bool]) -> tuple[int, ...]:
        """Return the partitions without a node; wait first where one is missing."""
        return self._met().attend(enough)

    def train(self, strategy: RobustStrategy, server_round: int, arrays: Arrays) -> Judge:
        """Send the arrays to the nodes of the round and wait for their replies."""
        strategy.use_partitions(self._met().partition_of)
        record = ArrayRecord({key: Array(np.asarray(array)) for key, array in arrays.items()})
        messages = strategy.configure_train(server_round, record, ConfigRecord(), self._grid)
        replies = list(self._grid.send_and_receive(messages, timeout=self._federation.round_timeout))

        def judge() -> tuple[NewArrays, Mapping[str, float]]:
            judged, metrics = strategy.aggregate_train(server_round, replies)
            numbers = {key: float(value) for key, value in (metrics or {}).items() if isinstance(value, int | float)}
            return None if judged is None else decoded(judged), numbers

        return judge

    def about(self) -> Mapping[str, Any]:
        """Return the engine's name."""
        return {"engine": self._engine}

    def _met(self) -> Roster:
        if self._roster is None:
            raise RuntimeError("the fleet was used before it was met")
        return self._roster
