"""What the detector reads of an update: how heavy the tails of each layer's changes are.

The paper (section 3.1) trains "on model data", "sensitive to edge position parameters", and does not say which. All
arrays of a network are read, by their shape: a trigger excites few weights and excites them much, so the change of a
layer that meets it has a heavy tail, wherever the trigger lies, whatever its target, and however the classes of the
client are skewed. The first layer alone says nearly as much on LeNet-5, less on a ResNet, with more false alarms;
``experiments/gancrop/README.md`` has the study of what else could be read.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fedsec.defenses.updates import Matrix

Shape = tuple[int, ...]
Values = NDArray[np.float64]

TINY = 1e-30
"""Added to what a logarithm is taken of: a layer that did not change has no shape."""

ROWS = 8
"""Updates that are read at once: some float64 copies of an array of each are held meanwhile."""

SMALLEST = 8
"""Values of the smallest array that is read: fewer have no tail."""


def read_updates(deltas: Matrix, places: Mapping[str, tuple[slice, Shape]]) -> Values:
    """Return what is read of every update, (n, F) float64; F depends on the network alone.

    Args:
        deltas: (n, d) local model minus global model.
        places: of every array of the network, its slice of a row and its shape.
    """
    starts = range(0, max(1, len(deltas)), ROWS)
    return np.concatenate([_read(deltas[first : first + ROWS], places) for first in starts])


def _read(deltas: Matrix, places: Mapping[str, tuple[slice, Shape]]) -> Values:
    whole = np.sqrt(np.einsum("nd,nd->n", deltas, deltas, dtype=np.float64)) + TINY
    columns: list[Values] = [np.log(whole)]
    for part, shape in places.values():
        if part.stop - part.start < SMALLEST:
            continue
        values = deltas[:, part].astype(np.float64)
        columns += [np.log(np.linalg.norm(values, axis=1) / whole + TINY), *_tails(values)]
        if len(shape) > 1:
            columns += _of_matrix(values.reshape(len(values), shape[0], math.prod(shape[1:])), shape)
    return np.stack(columns, axis=1)


def _of_matrix(weights: Values, shape: Shape) -> list[Values]:
    """Return the shape of what goes out of a layer and of what comes in, from its weights (n, out, in * kernel)."""
    outgoing = np.linalg.norm(weights, axis=2)
    incoming = np.linalg.norm(weights, axis=1)
    if len(shape) > 2:
        incoming = np.linalg.norm(incoming.reshape(len(weights), shape[1], math.prod(shape[2:])), axis=2)
    read = _peaks(outgoing) if outgoing.shape[1] > 1 else []
    return [*read, *_peaks(incoming)] if incoming.shape[1] >= SMALLEST else read


def _tails(values: Values) -> list[Values]:
    """Return log kurtosis, log of the largest in standard deviations, and skewness of each row (n, k)."""
    centred = values - values.mean(axis=1, keepdims=True)
    squares = centred**2
    variance = squares.mean(axis=1) + TINY
    kurtosis = (squares**2).mean(axis=1) / variance**2
    largest = np.sqrt(squares.max(axis=1) / variance)
    skewness = (squares * centred).mean(axis=1) / variance**1.5
    return [np.log(kurtosis + TINY), np.log(largest + TINY), np.cbrt(skewness)]


def _peaks(norms: Values) -> list[Values]:
    """Return how far the largest of the norms of each row (n, k) lies above the median, and how uneven they are."""
    middle = np.median(norms, axis=1) + TINY
    ordered = np.sort(norms, axis=1)
    spread = norms.std(axis=1) / (norms.mean(axis=1) + TINY)
    return [
        np.log(ordered[:, -1] / middle + TINY),
        np.log(ordered[:, -1] / (ordered[:, -2] + TINY) + TINY),
        np.log(spread + TINY),
    ]
