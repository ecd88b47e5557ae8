"""The base of strategies that look into the models on the server, with its own network and public images."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedsec.defenses.updates import OptionError, RoundUpdates, Vector, Verdict
from fedsec.strategies.layout import Layout
from fedsec.strategies.robust import RobustStrategy

Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Inspected:
    """One round as an inspector sees it.

    Attributes:
        updates: (n, d) what the clients sent.
        layout: where each array of the global model lies in a row of ``updates``; ``layout.sent`` is that model.
        model_of: from a row to the arrays of that client's model, BatchNorm's statistics included.
        rebuild: from a change (d,) of the global model to the arrays of the model that it makes.
    """

    updates: RoundUpdates
    layout: Layout
    model_of: Callable[[int], Arrays]
    rebuild: Callable[[NDArray[np.float32]], Arrays]


@dataclass(frozen=True, slots=True)
class Findings:
    """What an inspector makes of a round.

    Attributes:
        verdict: its answer. A client whose model was repaired and not used as it is has weight 0.
        report: what it found, for the record: what JSON can hold.
        models: global models of which the answer is made up, by name, such as ``"benign"`` and ``"repaired"``; who
            measures models measures these too.
        images: pictures by name, (H, W, C) uint8, such as a trigger that it recovered.
    """

    verdict: Verdict
    report: Mapping[str, Any]
    models: Mapping[str, Arrays]
    images: Mapping[str, NDArray[np.uint8]]


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
        inspector: judges the rounds. It needs the network and public data, which no option can hold: set it before
            the first round.
        findings: what it made of the last round that it judged.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.inspector: Inspector | None = None
        self.findings: Findings | None = None

    def defend(self, updates: RoundUpdates, rng: np.random.Generator) -> Verdict:
        """Let the inspector judge the round.

        Raises:
            OptionError: there is no inspector.
        """
        self.findings = None
        if self.inspector is None:
            raise OptionError(
                "strategy",
                f"{type(self).__name__} looks into models with the server's own network and public images; set its "
                "inspector before the first round.",
            )
        layout = self._sent()
        still: Vector = np.zeros(layout.side_width)
        seen = Inspected(
            updates, layout, lambda row: self.local_model(updates, row), lambda delta: layout.rebuild(delta, still)
        )
        self.findings = self.inspector.inspect(seen, rng)
        return self.findings.verdict

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return what the inspector keeps."""
        return self.inspector.state() if self.inspector else {}

    def load_state(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take back what :meth:`state` returned."""
        if self.inspector is None:
            super().load_state(state)
        else:
            self.inspector.load_state(state)
