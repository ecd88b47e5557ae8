"""From the clients' replies to the round's matrix: each reply is checked on its own, bad ones are dropped."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeGuard

import numpy as np
from numpy.typing import NDArray

from fedsec.defenses.updates import Matrix, RoundUpdates, Vector
from fedsec.strategies.layout import Arrays, BadReplyError, Layout
from fedsec.strategies.wording import shown

LONGEST_REASON = 400


@dataclass(frozen=True, slots=True)
class Dropped:
    """A client whose reply is not used in a round.

    The reason may hold a client's own words: it is kept on one line, in few characters, as nothing but text.
    """

    node_id: int
    reason: str

    def __post_init__(self) -> None:
        """Make the reason safe to be shown and kept."""
        object.__setattr__(self, "reason", shown(self.reason, LONGEST_REASON))


@dataclass(frozen=True, slots=True)
class Reply:
    """One client's answer, as it came: nothing in it has been checked.

    ``arrays`` is a function because decoding what a client sent may already fail.
    """

    node_id: int
    arrays: Callable[[], Arrays]
    num_examples: object
    loss: object = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a reply may hold at most before it is called nonsense. These bounds are no defense.

    Attributes:
        update_norm: highest L2 norm of an update, in the units of the weights. A value of 1e30 is finite, and
            enough to wipe out every other client in a mean.
        statistic: highest magnitude of a value that is kept apart from the row, such as BatchNorm's statistics.
        num_examples: highest number of examples that a client may claim.
        needs_loss: whether a reply without a finite loss is nonsense. A strategy that judges by losses sets it.
    """

    update_norm: float = 1e6
    statistic: float = 1e6
    num_examples: int = 10**9
    needs_loss: bool = False


class Admitted(NamedTuple):
    """What a good reply claims. Its update lies in its row of the matrix."""

    node_id: int
    num_examples: int
    loss: float


class Intake:
    """Collects one round's replies into one matrix, allocated once and used again every round."""

    def __init__(self) -> None:
        self._matrix: Matrix = np.empty((0, 0), np.float32)

    def collect(
        self, replies: Iterable[Reply], layout: Layout, limits: Limits
    ) -> tuple[RoundUpdates, Vector, list[Dropped]]:
        """Check every reply and put the good ones into the matrix, sorted by node.

        Returns:
            the updates (n, d), the values kept apart (n, side_width), and the replies that were dropped.
        """
        ordered = sorted(replies, key=lambda reply: reply.node_id)
        matrix = self._room_for(len(ordered), layout.width)
        side = np.empty((len(ordered), layout.side_width))
        good: list[Admitted] = []
        dropped: list[Dropped] = []
        seen: set[int] = set()
        for reply in ordered:
            try:
                if reply.node_id in seen:
                    raise BadReplyError("a second reply from the same node")
                seen.add(reply.node_id)
                good.append(admit(reply, layout, limits, matrix[len(good)], side[len(good)]))
            except Exception as error:  # a client may send anything; whatever fails, only its reply is lost
                dropped.append(Dropped(reply.node_id, reason_of(error)))
        return round_updates(good, matrix[: len(good)]), side[: len(good)], dropped

    def _room_for(self, rows: int, width: int) -> Matrix:
        if self._matrix.shape[0] < rows or self._matrix.shape[1] != width:
            self._matrix = np.empty((rows, width), np.float32)
        return self._matrix


def admit(reply: Reply, layout: Layout, limits: Limits, row: NDArray[np.float32], side: Vector) -> Admitted:
    """Check one reply and write its update into ``row`` (d,) and what is kept apart into ``side`` (side_width,).

    Raises:
        BadReplyError: it makes no sense; or whatever the decoding of its arrays raises.
    """
    examples = checked_examples(reply.num_examples, limits.num_examples)
    arrays = reply.arrays()
    layout.check(arrays)
    layout.write(arrays, row, side)
    check_finite(row, side, limits.update_norm)
    layout.check_apart(side, limits.statistic)
    return Admitted(reply.node_id, examples, checked_loss(reply.loss, needed=limits.needs_loss))


def round_updates(admitted: Sequence[Admitted], rows: Matrix) -> RoundUpdates:
    """Return the updates of a round: ``rows`` (n, d) belong to the ``admitted``, sorted by node."""
    losses = np.array([one.loss for one in admitted], np.float64)
    return RoundUpdates(
        node_ids=np.array([one.node_id for one in admitted], np.uint64),
        deltas=rows,
        num_examples=np.array([one.num_examples for one in admitted], np.int64),
        losses=None if np.isnan(losses).any() else losses,
    )


def is_finite_number(value: object) -> TypeGuard[int | float]:
    """Tell whether a client sent a number that a float can hold."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def checked_examples(claimed: object, highest: int) -> int:
    """Return the number of examples that a client claims, or raise :class:`BadReplyError` if it makes no sense."""
    if not is_finite_number(claimed) or not 1 <= claimed <= highest or claimed % 1:
        raise BadReplyError(f"claims {_told(claimed)} examples; expected an integer from 1 to {highest}")
    return int(claimed)


def checked_loss(claimed: object, *, needed: bool) -> float:
    """Return the loss that a client claims; NaN where it is no finite number, or :class:`BadReplyError` if needed."""
    if is_finite_number(claimed):
        return float(claimed)
    if needed:
        told = "none" if claimed is None else _told(claimed).removesuffix(" as its")
        raise BadReplyError(f"reports {told} as its loss; the defense needs a finite number")
    return float("nan")


def check_finite(row: NDArray[np.float32], side: Vector, highest_norm: float) -> None:
    """Raise :class:`BadReplyError` if an update has NaN or infinity, or is longer than ``highest_norm``."""
    with np.errstate(all="ignore"):
        norm = float(np.sqrt(np.dot(row, row))) if row.size else 0.0
    if not np.isfinite(side).all() or not (np.isfinite(norm) or np.isfinite(row).all()):
        raise BadReplyError("update holds NaN or infinity")
    if not norm <= highest_norm:
        raise BadReplyError(f"update has norm {norm:.3g}; the highest accepted is {highest_norm:.3g}")


def reason_of(error: Exception) -> str:
    """Return why a reply is dropped, in one line."""
    try:
        text = str(error) or type(error).__name__
    except Exception:  # an error of a client's own making
        text = type(error).__name__
    text = text if isinstance(error, BadReplyError) else f"cannot be decoded ({type(error).__name__}: {text})"
    return shown(text, LONGEST_REASON)


def _told(claimed: object) -> str:
    """Name what a client claims; of a long list or a number of a thousand digits only what it is."""
    if isinstance(claimed, int) and abs(claimed) >= 10**20:
        return f"a whole number of {claimed.bit_length()} bits as its"
    return str(claimed) if isinstance(claimed, int | float) else f"a {type(claimed).__name__} as its"
