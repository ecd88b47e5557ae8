"""The base of strategies that look into the models on the server, with its own network and public images."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from fedsec.defenses.updates import BoolVector, OptionError, RoundUpdates, TooFewClientsError, Vector, Verdict
from fedsec.strategies.layout import Layout, median_apart
from fedsec.strategies.robust import RobustStrategy

Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Inspected:
    """One round as an inspector sees it.

    Attributes:
        updates: (n, d) what the clients sent.
        layout: where each array of the global model lies in a row of ``updates``; ``layout.sent`` is that model.
        side: (n, width) what is kept apart of the updates, such as the changes of BatchNorm's statistics.
    """

    updates: RoundUpdates
    layout: Layout
    side: Vector

    def model_of(self, row: int) -> Arrays:
        """Return the arrays of a client's model, BatchNorm's statistics included."""
        return self.layout.rebuild(self.updates.deltas[row], self.side[row])

    def rebuild(self, delta: NDArray[np.float32], behind: BoolVector) -> Arrays:
        """Return the arrays of the model that a change (d,) of the global one makes, as the server would.

        Args:
            delta: the change.
            behind: (n,) which clients' models it comes from: BatchNorm's statistics are the median of theirs.
        """
        return self.layout.rebuild(delta, median_apart(self.side, behind.astype(np.float64)))


@dataclass(frozen=True, slots=True)
class Findings:
    """What an inspector makes of a round.

    Attributes:
        verdict: its answer. A client whose model was repaired and not used as it is has weight 0.
        report: what it found, for the record: what JSON can hold.
        models: global models of which the answer is made up, by name, such as ``"benign"`` and ``"repaired"``; who
            measures models measures these too.
        images: pictures by name, (H, W, C) uint8, such as a trigger that it recovered.
        masks: masks (H, W) in [0, 1] of recovered triggers by name; who knows the true one tells how they overlap.
        behind: (n,) whose BatchNorm statistics the answer has the median of; ``None``: of all with a weight above 0.
    """

    verdict: Verdict
    report: Mapping[str, Any]
    models: Mapping[str, Arrays]
    images: Mapping[str, NDArray[np.uint8]]
    masks: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    behind: BoolVector | None = None


class Inspector(Protocol):
    """Judges a round by its models."""

    def inspect(self, seen: Inspected, rng: np.random.Generator) -> Findings:
        """Return what this round's models show."""

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return what must outlive a restart of the server."""

    def load_state(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take back what :meth:`state` returned."""


class InspectingStrategy(RobustStrategy):
    """A strategy whose verdict is its inspector's. A subclass is its constructor.

    Attributes:
        fewest_clients: how many it needs to judge by; with fewer a round is skipped.
        inspector: judges the rounds. It needs the network and public data, which no option can hold: set it before
            the first round.
        findings: what it made of the last round that it judged.
    """

    fewest_clients: ClassVar[int] = 1

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.inspector: Inspector | None = None
        self.findings: Findings | None = None

    def defend(self, updates: RoundUpdates, rng: np.random.Generator) -> Verdict:
        """Let the inspector judge the round.

        Raises:
            OptionError: there is no inspector, or there are too few clients.
        """
        self.findings = None
        if self.inspector is None:
            raise OptionError(
                "strategy",
                f"{type(self).__name__} looks into models with the server's own network and public images; set its "
                "inspector before the first round.",
            )
        self.check_clients(len(updates))
        self.findings = self.inspector.inspect(Inspected(updates, self._sent(), self._side), rng)
        return self.findings.verdict

    def check_clients(self, clients: int) -> None:
        """Raise :class:`~fedsec.defenses.updates.TooFewClientsError` if so many clients are too few to judge them."""
        if clients < self.fewest_clients:
            raise TooFewClientsError(
                "strategy",
                f"{type(self).__name__} needs at least {self.fewest_clients} clients; got n={clients}.",
            )

    def combine_apart(self, side: Vector, weights: Vector) -> Vector:
        """Return the median of what those sent who are behind the answer: who was repaired has no weight of its own."""
        behind = None if self.findings is None else self.findings.behind
        return super().combine_apart(side, weights if behind is None else behind.astype(np.float64))

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return what the inspector keeps."""
        return self.inspector.state() if self.inspector else {}

    def load_state(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take back what :meth:`state` returned."""
        if self.inspector is None:
            super().load_state(state)
        else:
            self.inspector.load_state(state)
