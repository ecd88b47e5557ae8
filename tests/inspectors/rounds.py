"""Rounds of LeNets on digits, as inspectors see them."""

from collections.abc import Sequence

import numpy as np

from fedsec.defenses.updates import RoundUpdates
from fedsec.strategies.inspecting import Arrays, Inspected
from fedsec.strategies.layout import Layout
from fedsec.training.parameters import get_arrays
from tests.backdoored import network, trained


def round_of(models: Sequence[Arrays], sent: Arrays | None = None) -> Inspected:
    """Return a round in which a model was sent, the untrained network if none is given, and these came back."""
    layout = Layout(sent or get_arrays(network()))
    deltas, side = np.empty((len(models), layout.width), np.float32), np.empty((len(models), layout.side_width))
    for row, apart, model in zip(deltas, side, models, strict=True):
        layout.write(model, row, apart)
    nodes = np.arange(10, 10 + len(models), dtype=np.uint64)
    updates = RoundUpdates(nodes, deltas, np.full(len(models), 40, np.int64))
    return Inspected(updates, layout, side)


def arrays_of(backdoor: bool) -> Arrays:
    """Return a trained model's arrays."""
    return get_arrays(trained(backdoor).network)


def moved(arrays: Arrays, seed: int, scale: float = 1e-3) -> Arrays:
    """Return a model with a little noise on it."""
    rng = np.random.default_rng(seed)
    return {
        name: (array + scale * rng.standard_normal(array.shape)).astype(array.dtype) for name, array in arrays.items()
    }
