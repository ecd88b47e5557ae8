"""What can be read of a model to tell whether it is poisoned, for :mod:`benchmarks.gancrop_detection`.

A reader is given the shadows and returns what reads any models. So whatever it has to learn, it learns from shadows: no
model to test takes part.
"""

from collections.abc import Callable, Mapping

import numpy as np

from benchmarks.gancrop_models import Models
from fedsec.defenses.abnormal_clients import make_surrogates
from fedsec.defenses.gancrop.features import Shape, Values, read_updates
from fedsec.defenses.updates import Matrix
from fedsec.inspectors.watch import places
from fedsec.strategies.layout import Layout

SURROGATES = 64
"""Random sums of parameters, where those themselves are read."""

COMPONENTS = 32
"""Principal components of the shadows' updates, at most, where whole updates are read."""

Reading = Callable[[Models], Values]
Reader = Callable[[Models, Layout], Reading | None]
"""From the shadows and the layout of the network; ``None`` where the network lacks what is to be read."""


def every_array(shadows: Models, layout: Layout) -> Reading:
    """Read what GANcrop's detector reads (:mod:`fedsec.inspectors.watch`): every array of the update, by its shape."""
    return lambda models: read_updates(models.deltas, places(layout))


def behaviour(shadows: Models, layout: Layout) -> Reading:
    """Read how models answer to probes."""
    return lambda models: models.behaviour


def everything(shadows: Models, layout: Layout) -> Reading:
    """Read both."""
    arrays = every_array(shadows, layout)
    return lambda models: np.concatenate([arrays(models), models.behaviour], axis=1)


def first_layer(shadows: Models, layout: Layout) -> Reading:
    """Read the shape of the first array that is a matrix or a kernel."""
    return lambda models: read_updates(models.deltas, dict([_weights(layout)[0]]))


def last_layer(shadows: Models, layout: Layout) -> Reading:
    """Read the same of the last one."""
    return lambda models: read_updates(models.deltas, dict([_weights(layout)[-1]]))


def first_weights(shadows: Models, layout: Layout) -> Reading:
    """Read the update of the first array that is a matrix or a kernel as it is."""
    _, (part, _) = _weights(layout)[0]
    return lambda models: models.deltas[:, part].astype(np.float64)


def cells(shadows: Models, layout: Layout) -> Reading | None:
    """Read, of the update of a first dense layer over a spatial map, the energy at each cell of the map.

    A trigger off the centre excites cells that clean images leave as they are. A network that averages its map before
    the dense layer has no such cells.
    """
    found = dense_over_map(layout)
    if found is None:
        return None
    part, shape = found
    return lambda models: cell_energies(models.deltas[:, part], shape)


def random_sums(shadows: Models, layout: Layout) -> Reading:
    """Read random sums of the parameters as they are."""
    return lambda models: np.asarray(make_surrogates(models.deltas, SURROGATES, seed=0), np.float64)


def components(shadows: Models, layout: Layout) -> Reading:
    """Read the whole update as it is, all parameters, on the principal components of the shadows' updates.

    Only of those that are learned from, and the axes are theirs alone. The shadows that set a judge's threshold have
    taken part in them, so it may be too high or too low; the area under the curve does not depend on it.
    """
    known = shadows.deltas[shadows.usable]
    mean = known.mean(axis=0)
    axes = np.linalg.svd(known - mean, full_matrices=False)[2][:COMPONENTS]
    return lambda models: ((models.deltas - mean) @ axes.T).astype(np.float64)


READERS: Mapping[str, Reader] = {
    "every array, by its shape (GANcrop)": every_array,
    "every array by its shape, and behaviour": everything,
    "behaviour": behaviour,
    "the first layer, by its shape": first_layer,
    "the last layer, by its shape": last_layer,
    "the first layer, its weights as they are": first_weights,
    "the first dense layer, energy by cell of its map": cells,
    f"parameters, {SURROGATES} random sums": random_sums,
    f"parameters, {COMPONENTS} principal components": components,
}


def dense_over_map(layout: Layout) -> tuple[slice, tuple[int, int, int]] | None:
    """Return where the weights of the first dense layer lie, and their shape (outputs, channels, cells of the map).

    ``None`` without convolutions before it, or where what they give has one cell. The map is taken to be flattened
    channel by channel, and to have as many as the last kernel before has outputs.
    """
    channels = 0
    for part, shape in places(layout).values():
        if len(shape) > 2:
            channels = shape[0]
        elif len(shape) == 2:
            spatial = channels > 0 and shape[1] % channels == 0 and shape[1] > channels
            return (part, (shape[0], channels, shape[1] // channels)) if spatial else None
    return None


def cell_energies(weights: Matrix, shape: tuple[int, int, int]) -> Values:
    """Return the sum of squares of weights (n, outputs * channels * cells) at each cell, (n, cells)."""
    split = weights.reshape(len(weights), *shape)
    energies: Values = np.einsum("nocp,nocp->np", split, split, dtype=np.float64)
    return energies


def _weights(layout: Layout) -> list[tuple[str, tuple[slice, Shape]]]:
    return [(name, at) for name, at in places(layout).items() if len(at[1]) > 1]
