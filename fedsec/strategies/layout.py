"""Where a model's arrays lie in a client's row of the matrix, and the way back to arrays."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedsec.defenses.blocks import map_blocks
from fedsec.defenses.updates import Vector
from fedsec.strategies.wording import shown

Arrays = Mapping[str, NDArray[np.generic]]
BatchNorm = Literal["apart", "included"]

ADDED_BLOCK = 1 << 16
"""Values of an array that are added in float64 at once: few enough for a core's second-level cache."""

LARGEST_EXACT = 2.0**53
"""Up to this, a float64 holds every whole number."""

BATCHNORM_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class BadReplyError(ValueError):
    """A reply cannot be used; the message says why, for the record."""


class Layout:
    """Where each array of the global model lies in a client's row of the matrix.

    Floating-point arrays make up the row. Integers and booleans never do (a counter of batches is no direction),
    and neither do the statistics of BatchNorm unless ``batchnorm`` says ``"included"``: they are recognised by
    the end of their name.

    Raises:
        TypeError: the model has an array that is neither floating-point, integer nor boolean.
    """

    def __init__(self, sent: Arrays, *, batchnorm: BatchNorm = "apart") -> None:
        self.sent = {key: np.asarray(array) for key, array in sent.items()}
        for key, array in self.sent.items():
            if array.dtype.kind not in "fiub":
                raise TypeError(f"array '{key}' of the model is {array.dtype}; expected real numbers or booleans.")
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
            missing = [shown(key) for key in sorted(self.sent.keys() - arrays.keys())[:3]]
            extra = [shown(key) for key in sorted(arrays.keys() - self.sent.keys())[:3]]
            raise BadReplyError(f"arrays do not match the model: missing {missing}, unexpected {extra}")
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

    def change(self, arrays: Arrays) -> NDArray[np.float32]:
        """Return ``arrays`` minus the arrays that were sent as a row (d,), without what is kept apart."""
        row, side = np.empty(self.width, np.float32), np.empty(self.side_width)
        self.write(arrays, row, side)
        return row

    def check_apart(self, side: Vector, highest: float) -> None:
        """Raise :class:`BadReplyError` if a value kept apart, whose changes are ``side``, is beyond ``highest``."""
        for key, part in self.side_row.items():
            value, bound = side[part], LARGEST_EXACT
            if self.sent[key].dtype.kind == "f":
                value, bound = value + self.sent[key].ravel().astype(np.float64), highest
            largest = float(np.abs(value).max(initial=0.0))
            if not largest <= bound:
                raise BadReplyError(f"array '{key}' holds or changes by {largest:.3g}; the highest is {bound:.3g}")

    def rebuild(self, delta: NDArray[np.float32], side: Vector) -> dict[str, NDArray[np.generic]]:
        """Return the arrays that were sent plus ``delta`` and ``side``: same keys, order, shapes and dtypes.

        A variance that a defense's noise made negative (``batchnorm="included"``) becomes 0: its square root is
        taken, and clients could send it back no more.
        """
        rebuilt: dict[str, NDArray[np.generic]] = {}
        for key, array in self.sent.items():
            change = delta[self.row[key]] if key in self.row else side[self.side_row[key]]
            value = _added(array.ravel(), change)
            if key.endswith("running_var"):
                value = np.maximum(value, 0)
            rebuilt[key] = value.astype(array.dtype, copy=False).reshape(array.shape)
        return rebuilt


def mean_apart(side: Vector, weights: Vector) -> Vector:
    """Average the values kept apart (n, width) with the clients' weights (n,), scaled to sum to one."""
    total = weights.sum()
    return weights @ side / total if total > 0 else np.zeros(side.shape[1])


def median_apart(side: Vector, weights: Vector) -> Vector:
    """Return the median of each value kept apart (n, width) over the clients with a weight (n,) above 0.

    A defense has not seen these values. Each client that it let through has one vote on each of them, so fewer
    than half cannot move one beyond what the others sent. Factors of clipping are bounds, not votes: by them the
    shortest update would count most.
    """
    return np.median(side[weights > 0], axis=0) if (weights > 0).any() else np.zeros(side.shape[1])


def _added(array: NDArray[np.generic], change: NDArray[np.floating[Any]]) -> NDArray[np.generic]:
    """Return ``array`` plus ``change`` in float64; integers and booleans rounded, and exact where nothing changes."""
    if array.dtype.kind in "iu":  # sums wrap around, so that a negative change of an unsigned number is right too
        total: NDArray[np.generic] = array + np.rint(change).astype(np.int64).astype(array.dtype)
        return total
    if array.dtype.kind == "b":
        changed: NDArray[np.bool_] = array.astype(np.float64) + change > 0.5
        return changed
    total = np.empty_like(array)

    def add_block(block: slice) -> None:
        total[block] = array[block].astype(np.float64) + change[block]

    map_blocks(add_block, (1, array.size), ADDED_BLOCK)
    return total


def _slices(arrays: Arrays) -> dict[str, slice]:
    slices, start = {}, 0
    for key, array in arrays.items():
        slices[key] = slice(start, start + array.size)
        start += array.size
    return slices


def _end(slices: Mapping[str, slice]) -> int:
    return max((part.stop for part in slices.values()), default=0)
