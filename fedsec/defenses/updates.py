"""What a defense is given and what it answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Matrix = NDArray[np.float32]
IntVector = NDArray[np.int64]
NodeIds = NDArray[np.uint64]
BoolVector = NDArray[np.bool_]


class OptionError(ValueError):
    """An option of a defense makes no sense.

    Attributes:
        option: the keyword of the option, as in the function's signature.
    """

    def __init__(self, option: str, message: str) -> None:
        super().__init__(message)
        self.option = option


class TooFewClientsError(OptionError):
    """The option does not fit this few clients. A strategy skips such a round and records why."""


def check_choice(option: str, value: object, allowed: Sequence[str]) -> None:
    """Raise :class:`OptionError` unless ``value`` is one of the ``allowed`` words."""
    if value not in allowed:
        words = " or ".join(repr(word) for word in allowed)
        raise OptionError(option, f"{option} must be {words}; got {value!r}.")


def check_whole(option: str, value: object, *, at_least: int) -> None:
    """Raise :class:`OptionError` unless ``value`` is a whole number from ``at_least``."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < at_least:
        raise OptionError(option, f"{option} must be a whole number from {at_least}; got {value!r}.")


@dataclass(frozen=True, slots=True)
class RoundUpdates:
    """What the server sees of one round, rows sorted by node so that sums repeat.

    Attributes:
        node_ids: (n,) identity of each client, ascending; Flower's are unsigned 64-bit numbers.
        deltas: (n, d) float32, local model minus global model, in the units of the weights.
        num_examples: (n,) examples that each client claims to have trained on; a defense may ignore it.
        losses: (n,) training loss that each client claims, or ``None`` when not all of them report one.
    """

    node_ids: NodeIds
    deltas: Matrix
    num_examples: IntVector
    losses: Vector | None = None

    def __len__(self) -> int:
        """Return n, the number of clients."""
        return len(self.node_ids)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A defense's answer for one round.

    Attributes:
        delta: (d,) float32, to add to the global model.
        weights: (n,) float64, share of each client in ``delta``; 0 means rejected.
        scores: (n,) float64, higher is more suspicious. Scales differ between defenses.
    """

    delta: NDArray[np.float32]
    weights: Vector
    scores: Vector
