"""From the clients' arrays to the round's matrix, and back: each reply is checked on its own, bad ones are dropped."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeGuard

import numpy as np
from numpy.typing import NDArray

from fedsec.defenses.updates import Matrix, RoundUpdates, Vector

Arrays = Mapping[str, NDArray[np.generic]]
BatchNorm = Literal["apart", "included"]

BATCHNORM_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class BadReplyError(ValueError):
    """A reply cannot be used; the message says why, for the record."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A client whose reply is not used in a round."""

    node_id: int
    reason: str


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
        num_examples: highest number of examples that a client may claim.
    """

    update_norm: float = 1e6
    num_examples: int = 10**9


class Layout:
    """Where each array of the global model lies in a client's row of the matrix.

    Floating-point arrays make up the row. Integer arrays never do (a counter of batches is no direction),
    and neither do the statistics of BatchNorm unless ``batchnorm`` says ``"included"``: they are recognised by
    the end of their name, and follow the weights that the defense gives to each client.
    """

    def __init__(self, sent: Arrays, *, batchnorm: BatchNorm = "apart") -> None:
        self.sent = {key: np.asarray(array) for key, array in sent.items()}
        names = () if batchnorm == "included" else BATCHNORM_STATISTICS
        apart = {
            k for k, a in self.sent.items() if not np.issubdtype(a.dtype, np.floating) or k.endswith(names or "\0")
        }
        self.row = _slices({key: array for key, array in self.sent.items() if key not in apart})
        self.side_row = _slices({key: array for key, array in self.sent.items() if key in apart})

    @property
    def width(self) -> int:
        """Number of parameters d in a row."""
        return _end(self.row)

    @property
    def side_width(self) -> int:
        """Number of values kept apart from the row."""
        return _end(self.side_row)

    def global_vector(self) -> Vector:
        """Return the arrays that were sent as one row (d,), float64."""
        if not self.row:
            return np.empty(0)
        return np.concatenate([self.sent[key].ravel().astype(np.float64) for key in self.row])

    def check(self, arrays: Arrays) -> None:
        """Raise :class:`BadReplyError` unless ``arrays`` has the keys, shapes and dtypes that were sent."""
        if arrays.keys() != self.sent.keys():
            missing = sorted(self.sent.keys() - arrays.keys())
            extra = sorted(arrays.keys() - self.sent.keys())
            raise BadReplyError(f"arrays do not match the model: missing {missing[:3]}, unexpected {extra[:3]}")
        for key, array in arrays.items():
            expected = self.sent[key]
            if array.shape != expected.shape:
                raise BadReplyError(f"array '{key}' has shape {array.shape}; expected {expected.shape}")
            if array.dtype != expected.dtype:
                raise BadReplyError(f"array '{key}' has dtype {array.dtype}; expected {expected.dtype}")
            if key.endswith("running_var") and (array.astype(np.float64) < 0).any():
                raise BadReplyError(f"array '{key}' is a variance and has negative values")

    def write(self, arrays: Arrays, row: NDArray[np.float32], side: Vector) -> None:
        """Write ``arrays`` minus the arrays that were sent into ``row`` (d,) and ``side`` (side_width,)."""
        with np.errstate(all="ignore"):  # what overflows here is refused by the caller
            for key, part in self.row.items():
                np.subtract(arrays[key].ravel(), self.sent[key].ravel(), out=row[part], casting="unsafe")
            for key, part in self.side_row.items():
                side[part] = arrays[key].ravel().astype(np.float64) - self.sent[key].ravel().astype(np.float64)

    def rebuild(self, delta: NDArray[np.float32], side: Vector) -> dict[str, NDArray[np.generic]]:
        """Return the arrays that were sent plus ``delta`` and ``side``: same keys, order, shapes and dtypes."""
        rebuilt: dict[str, NDArray[np.generic]] = {}
        for key, array in self.sent.items():
            change = delta[self.row[key]] if key in self.row else side[self.side_row[key]]
            value = array.ravel().astype(np.float64) + change
            if np.issubdtype(array.dtype, np.integer):
                value = np.rint(value)
            rebuilt[key] = value.astype(array.dtype).reshape(array.shape)
        return rebuilt


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
        good: list[tuple[int, int, float]] = []
        dropped: list[Dropped] = []
        seen: set[int] = set()
        for reply in ordered:
            try:
                if reply.node_id in seen:
                    raise BadReplyError("a second reply from the same node")
                seen.add(reply.node_id)
                examples = checked_examples(reply.num_examples, limits.num_examples)
                arrays = reply.arrays()
                layout.check(arrays)
                layout.write(arrays, matrix[len(good)], side[len(good)])
                check_finite(matrix[len(good)], side[len(good)], limits.update_norm)
                loss = float(reply.loss) if is_finite_number(reply.loss) else float("nan")
            except Exception as error:  # a client may send anything; whatever fails, only its reply is lost
                dropped.append(Dropped(reply.node_id, _reason(error)))
            else:
                good.append((reply.node_id, examples, loss))
        columns = tuple(zip(*good, strict=True)) or ((), (), ())
        losses = np.array(columns[2], np.float64)
        updates = RoundUpdates(
            node_ids=np.array(columns[0], np.uint64),
            deltas=matrix[: len(good)],
            num_examples=np.array(columns[1], np.int64),
            losses=None if np.isnan(losses).any() else losses,
        )
        return updates, side[: len(good)], dropped

    def _room_for(self, rows: int, width: int) -> Matrix:
        if self._matrix.shape[0] < rows or self._matrix.shape[1] != width:
            self._matrix = np.empty((rows, width), np.float32)
        return self._matrix


def is_finite_number(value: object) -> TypeGuard[int | float]:
    """Tell whether a client sent a number that a float can hold."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def checked_examples(claimed: object, highest: int) -> int:
    """Return the number of examples that a client claims, or raise :class:`BadReplyError` if it makes no sense."""
    if not is_finite_number(claimed) or not 1 <= claimed <= highest or claimed % 1:
        raise BadReplyError(f"claims {str(claimed)[:40]} examples; expected an integer from 1 to {highest}")
    return int(claimed)


def check_finite(row: NDArray[np.float32], side: Vector, highest_norm: float) -> None:
    """Raise :class:`BadReplyError` if an update has NaN or infinity, or is longer than ``highest_norm``."""
    with np.errstate(all="ignore"):
        norm = float(np.sqrt(np.dot(row, row))) if row.size else 0.0
    if not np.isfinite(side).all() or not (np.isfinite(norm) or np.isfinite(row).all()):
        raise BadReplyError("update holds NaN or infinity")
    if not norm <= highest_norm:
        raise BadReplyError(f"update has norm {norm:.3g}; the highest accepted is {highest_norm:.3g}")


def average_side(side: Vector, weights: Vector) -> Vector:
    """Average the values kept apart (n, width) with the clients' weights (n,), scaled to sum to one."""
    total = weights.sum()
    return weights @ side / total if total > 0 else np.zeros(side.shape[1])


def _slices(arrays: Arrays) -> dict[str, slice]:
    slices, start = {}, 0
    for key, array in arrays.items():
        slices[key] = slice(start, start + array.size)
        start += array.size
    return slices


def _end(slices: Mapping[str, slice]) -> int:
    return max((part.stop for part in slices.values()), default=0)


def _reason(error: Exception) -> str:
    text = str(error) if isinstance(error, BadReplyError) else f"cannot be decoded ({type(error).__name__}: {error})"
    return text.splitlines()[0][:300] if text else "cannot be decoded"
