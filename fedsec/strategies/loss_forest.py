"""The loss forest as a Flower strategy."""

from collections.abc import Mapping
from dataclasses import fields
from logging import WARNING
from typing import Any, Protocol, Unpack

import numpy as np
from flwr.common.logger import log
from numpy.typing import NDArray

from fedsec.defenses.loss_forest import ForestOptions, Gate, Sides, loss_forest
from fedsec.defenses.loss_memory import LossMemory
from fedsec.defenses.updates import RoundUpdates, Vector, Verdict
from fedsec.strategies.layout import mean_apart
from fedsec.strategies.options import StrategyOptions
from fedsec.strategies.replies import last_line
from fedsec.strategies.robust import RobustStrategy

Arrays = Mapping[str, NDArray[np.generic]]


class Audit(Protocol):
    """Measures the losses of uploaded generators on the server, round by round."""

    def prepare(self, sent: Arrays, rng: np.random.Generator) -> None:
        """Get ready to measure the generators of a round, whose clients were ``sent`` these arrays."""

    def loss(self, arrays: Arrays) -> float:
        """Return the loss of a generator with these arrays; higher is worse."""

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return what must outlive a restart of the server."""

    def load_state(self, state: Arrays) -> None:
        """Take back what :meth:`state` returned."""


AUDIT = "audit."
"""Begins the names of what an audit keeps."""

MEMORY = ("node_ids", "counts", "log_weights", "losses", "rounds")
"""What the forest itself keeps."""


class LossForest(RobustStrategy):
    """Decay by an Isolation Forest of reported losses (Jin and Li, SASHIMI 2022) as a Flower strategy.

    A reply without a finite ``loss`` in its metrics is dropped, in warm-up too: so a client that reports none is found
    out in the first round, and not when the forest is first asked.

    Args:
        warmup_rounds: m; the first m + 1 rounds go without detection.
        decay: d; a client that is flagged for the c-th time has its weight multiplied by d^c.
        gate: the answer counts where fewer than ``"half"`` of n clients are flagged (the paper), or fewer than
            n // 2, ``"whole-half"`` (the authors' code).
        absolute: judge the absolute value of the losses (the authors' code).
        sides: flag losses at ``"both"`` ends (the paper), or ``"high"`` ones only.
        recovery: share of the way back to its full weight that a client goes in a round that does not flag it.
        floor: robust standard deviations from the round's median below which nobody is flagged; 0 is off.
        smoothing: share of a client's earlier losses in the one that is judged; 0 is the round's own.
        **options: see :class:`RobustStrategy`.

    Attributes:
        memory: what is known of the clients from the rounds before.
        audit: measures the loss of each client's generator on the server. Set it, and what the clients report decides
            nothing any more. A generator on which it raises, or whose loss is not finite, counts as flagged and has
            weight 0 in that round.
    """

    needs_loss = True

    def __init__(
        self,
        *,
        warmup_rounds: int = 10,
        decay: float = 0.9,
        gate: Gate = "half",
        absolute: bool = False,
        sides: Sides = "both",
        recovery: float = 0.0,
        floor: float = 0.0,
        smoothing: float = 0.0,
        **options: Unpack[StrategyOptions],
    ) -> None:
        super().__init__(**options)
        self.warmup_rounds = warmup_rounds
        self.decay = decay
        self.gate: Gate = gate
        self.absolute = absolute
        self.sides: Sides = sides
        self.recovery = recovery
        self.floor = floor
        self.smoothing = smoothing
        self.forest_options()  # which checks them
        self.memory = LossMemory.empty()
        self.audit: Audit | None = None

    def forest_options(self) -> ForestOptions:
        """Return the options as the function takes them."""
        given: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(ForestOptions)}
        return ForestOptions(**given)

    def combine_apart(self, side: Vector, weights: Vector) -> Vector:
        """Average what is kept apart with the same weights: algorithm 1 averages all of a generator with them.

        The median of the other defenses is for weights that are bounds or a choice. Here they are the answer itself,
        and a median would give a client whose weight has decayed to nothing a full vote.
        """
        return mean_apart(side, weights)

    def defend(self, updates: RoundUpdates, rng: np.random.Generator) -> Verdict:
        """Flag, decay, average (:func:`fedsec.defenses.loss_forest.loss_forest`); remember it for the next round."""
        measured = None if self.audit is None else self._audited(updates, self.audit, rng)
        verdict, self.memory = loss_forest(updates, rng, self.memory, self.forest_options(), measured=measured)
        return verdict

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return the memory as arrays, and what the audit keeps."""
        memory = self.memory
        audited = {f"{AUDIT}{name}": array for name, array in (self.audit.state() if self.audit else {}).items()}
        return audited | {
            "node_ids": memory.node_ids,
            "counts": memory.counts,
            "log_weights": memory.log_weights,
            "losses": memory.losses,
            "rounds": np.array([memory.rounds]),
        }

    def load_state(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take back what :meth:`state` returned."""
        audited = {name.removeprefix(AUDIT): array for name, array in state.items() if name.startswith(AUDIT)}
        own = {name: array for name, array in state.items() if not name.startswith(AUDIT)}
        if own.keys() != set(MEMORY):
            raise ValueError(f"LossForest keeps {sorted(MEMORY)}; the checkpoint holds {sorted(own)}.")
        if self.audit:
            self.audit.load_state(audited)
        self.memory = LossMemory(
            state["node_ids"].astype(np.uint64),
            state["counts"].astype(np.int64),
            state["log_weights"].astype(np.float64),
            state["losses"].astype(np.float64),
            int(state["rounds"][0]),
        )

    def _audited(self, updates: RoundUpdates, audit: Audit, rng: np.random.Generator) -> Vector:
        losses = np.full(len(updates), np.nan)
        audit.prepare(self.sent, rng)
        for row in range(len(updates)):
            try:
                losses[row] = audit.loss(self.local_model(updates, row))
            except Exception as error:  # a client's generator must not be able to stop a run
                told = last_line(f"{type(error).__name__}: {error}")
                log(WARNING, "the loss of node %d could not be measured (%s)", updates.node_ids[row], told)
        return losses
