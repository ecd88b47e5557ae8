"""Linear layers, the loss and a step of SGD, with sixteen examples side by side in every vector.

Features are (groups, features, 16), float32. Every array begins at a multiple of 64 bytes; sizes of steps between
things are in bytes.
"""

from typing import Any

import numpy as np

from fedsec.training.compiled_blocks import broadcast_sums
from fedsec.training.compiled_instructions import LANES, LINE, compiled


@compiled
def multiply(features: Any, weights: Any, bias: Any, near: Any, far: Any, rectify: bool, result: Any) -> None:
    """Write ``weights`` (O, F) times ``features`` (G, F, 16) plus ``bias`` into ``result`` (G, O, 16)."""
    groups, inputs = features.shape[:2]
    outputs = len(weights)
    broadcast_sums(
        outputs,
        groups,
        (weights.ctypes.data, near.ctypes.data, inputs * 4),
        (features.ctypes.data, far.ctypes.data, inputs * LINE),
        inputs,
        (bias.ctypes.data, 4),
        (result.ctypes.data, LINE, outputs * LINE),
    )
    if rectify:
        flat = result.reshape(result.size)
        for place in range(result.size):
            if flat[place] <= 0:
                flat[place] = 0


@compiled
def multiply_back(slopes: Any, weights: Any, near: Any, far: Any, zero: Any, result: Any) -> None:
    """Write the slopes of features into ``result`` (G, F, 16), from those of a linear layer's outputs (G, O, 16)."""
    groups, outputs = slopes.shape[:2]
    inputs = weights.shape[1]
    broadcast_sums(
        inputs,
        groups,
        (weights.ctypes.data, near.ctypes.data, 4),
        (slopes.ctypes.data, far.ctypes.data, outputs * LINE),
        outputs,
        (zero.ctypes.data, 0),
        (result.ctypes.data, LINE, inputs * LINE),
    )


@compiled
def rectify_back(outputs: Any, slopes: Any) -> None:
    """Set the ``slopes`` to zero where ReLU's ``outputs`` (G, F, 16) are."""
    one, other = outputs.reshape(outputs.size), slopes.reshape(slopes.size)
    for place in range(outputs.size):
        if one[place] <= 0:
            other[place] = 0


@compiled
def linear_slopes(
    slopes: Any, features: Any, by_example: Any, near: Any, far: Any, zero: Any, result: Any, of_bias: Any
) -> None:
    """Write the slopes of a linear layer's weights (O, F') and biases (O,); F' is F up to a whole vector.

    Args:
        slopes: (G, O, 16) of its outputs; 0 for what is no example.
        features: (G, F, 16), its inputs.
        by_example: (16 G, F'), room for the same, an example in each row; zeros beyond F.
        near: (16 G,) bytes from the first output's slopes to those of each example.
        far: (16 G,) bytes from the first example's features to each one's.
        zero: a zero.
        result: where those of the weights go.
        of_bias: where those of the biases go.
    """
    groups, inputs = features.shape[:2]
    for group in range(groups):
        for feature in range(inputs):
            for lane in range(LANES):
                by_example[group * LANES + lane, feature] = features[group, feature, lane]
    broadcast_sums(
        slopes.shape[1],
        result.shape[1] // LANES,
        (slopes.ctypes.data, near.ctypes.data, LINE),
        (by_example.ctypes.data, far.ctypes.data, LINE),
        groups * LANES,
        (zero.ctypes.data, 0),
        (result.ctypes.data, result.shape[1] * 4, LINE),
    )
    for o in range(slopes.shape[1]):
        total = np.float32(0)
        for group in range(groups):
            for lane in range(LANES):
                total += slopes[group, o, lane]
        of_bias[o] = total


@compiled
def cross_entropy(logits: Any, labels: Any, chosen: Any, slopes: Any) -> float:
    """Return the sum of the losses of the ``chosen`` examples; write the slopes of their mean, 0 for no example."""
    slopes[:] = 0
    total, outputs = 0.0, logits.shape[1]
    for place in range(len(chosen)):
        group, lane, wanted = place // LANES, place % LANES, labels[chosen[place]]
        most = logits[group, 0, lane]
        for o in range(1, outputs):
            most = max(most, logits[group, o, lane])
        whole = np.float32(0)
        for o in range(outputs):
            slopes[group, o, lane] = np.exp(logits[group, o, lane] - most)
            whole += slopes[group, o, lane]
        for o in range(outputs):
            share = slopes[group, o, lane] / whole
            slopes[group, o, lane] = (share - (o == wanted)) / np.float32(len(chosen))
        total += np.log(whole) - (logits[group, wanted, lane] - most)
    return total


@compiled
def descend(slopes: Any, moment: Any, momentum: Any, rate: Any, weights: Any) -> None:
    """Take a step of SGD, with momentum as :class:`torch.optim.SGD` has it, on ``weights`` (rows, n)."""
    rows, inputs = weights.shape
    for row in range(rows):
        for place in range(inputs):
            slope = slopes[row, place]
            if momentum != 0:
                slope += momentum * moment[row, place]
                moment[row, place] = slope
            weights[row, place] -= rate * slope
