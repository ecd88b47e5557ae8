"""The layers of :mod:`.compiled_pass`: their weights, room for what goes through them, and tables of places."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedsec.training.chain import Convolution, Linear
from fedsec.training.compiled_convolutions import (
    activate,
    convolution_slopes,
    convolve,
    convolve_back,
    deactivate,
    sum_lanes,
)
from fedsec.training.compiled_instructions import ITEM, LANES, LINE
from fedsec.training.compiled_linears import (
    descend,
    linear_slopes,
    multiply,
    multiply_back,
    rectify_back,
)

Floats = NDArray[np.float32]
Weights = Mapping[str, NDArray[np.generic]]

ZERO = np.zeros(1, np.float32)
NONE = np.zeros((0, 0, 0, LANES), np.int32)


class CompiledConvolution:
    """A convolution's weights, slopes and tables."""

    def __init__(self, layer: Convolution, weights: Weights, rate: np.float32, momentum: np.float32) -> None:
        self.layer, self.rate, self.momentum = layer, rate, momentum
        taps = layer.channels * layer.size**2
        self.weight = np.array(weights[f"{layer.name}.weight"], np.float32, order="C").reshape(layer.outputs, taps)
        self.bias = np.array(weights[f"{layer.name}.bias"], np.float32).reshape(1, -1)
        self.moments = np.zeros_like(self.weight), np.zeros_like(self.bias)
        self.slopes = np.zeros_like(self.weight), np.zeros_like(self.bias)
        self.of_weight = room(layer.outputs, layer.channels, layer.size, layer.size, LANES)
        self.of_bias = room(layer.outputs, LANES)
        self._pack()

    def fit(self, shape: tuple[int, ...], groups: int) -> tuple[int, ...]:
        """Make room for what it takes, (C, H, W); return the shape of what it and what follows it make."""
        layer, (channels, height, width) = self.layer, shape
        padded = height + 2 * layer.padding, width + 2 * layer.padding
        made = padded[0] - layer.size + 1, padded[1] - layer.size + 1
        after = (made[0] // 2, made[1] // 2) if layer.pool else made
        if channels != layer.channels or min(after) < 1:
            wanted = f"layer '{layer.name}' takes {layer.channels} channels of at least {self._least()} pixels"
            raise ValueError(f"{wanted}, got {size(shape)}")
        self.padded = room(groups, channels, *padded, LANES)
        self.sums = room(layer.outputs, *made, LANES)
        self.chosen = room(groups, layer.outputs, *after, LANES).view(np.int32) if layer.pool else None
        self.border = layer.size - 1 - layer.padding
        around = made[0] + 2 * self.border, made[1] + 2 * self.border
        self.of_sums = room(layer.outputs, *around, LANES)
        self.of_input = room(channels, height, width, LANES)
        taps, rows = np.arange(layer.channels * layer.size**2), np.arange(layer.size)
        self.near = taps * layer.outputs * ITEM
        self.far = table(np.arange(channels) * padded[0] * padded[1], rows * padded[1], rows)
        self.near_back = np.arange(layer.outputs * layer.size**2) * channels * ITEM
        self.far_back = table(rows * around[1], np.arange(layer.outputs) * around[0] * around[1], rows)
        places = np.arange(made[0]), np.arange(made[1])
        self.near_places = table((places[0] + self.border) * around[1], places[1] + self.border)
        self.far_places = table(places[0] * padded[1], places[1])
        self.made = layer.outputs, *after
        return self.made

    def _least(self) -> int:
        return self.layer.size - 2 * self.layer.padding + self.layer.pool

    def _pack(self) -> None:
        layer = self.layer
        whole = self.weight.reshape(layer.outputs, layer.channels, layer.size, layer.size)
        self.packed = np.ascontiguousarray(whole.transpose(1, 2, 3, 0))
        self.packed_back = np.ascontiguousarray(whole[:, :, ::-1, ::-1].transpose(2, 0, 3, 1))

    def forward(self, group: int, result: Floats, pad: int) -> None:
        """Write what it and what follows it make of one group into ``result``, within a border of width ``pad``."""
        convolve(self.padded[group], self.packed, self.bias[0], self.near, self.far, self.sums)
        activate(self.sums, self.layer.rectify, pad, result, self._chosen(group))

    def _chosen(self, group: int) -> NDArray[np.int32]:
        return NONE if self.chosen is None else self.chosen[group]

    def receive(self, group: int, slopes: Floats, made: Floats, pad: int) -> None:
        """Take one group's slopes of what :meth:`forward` wrote, and add those of the biases."""
        rectify, chosen = self.layer.rectify, self._chosen(group)
        deactivate(slopes, made, pad, rectify, chosen, self.border, self.of_sums, self.of_bias)

    def learn(self, group: int) -> None:
        """Add the slopes of the weights of the group whose slopes were received last."""
        padded = self.padded[group]
        convolution_slopes(self.of_sums, padded, self.near_places, self.far_places, self.layer.size, self.of_weight)

    def pass_on(self) -> Floats:
        """Return that group's slopes of what the layer took, (C, H, W, 16), until the next call."""
        convolve_back(self.of_sums, self.border, self.packed_back, self.near_back, self.far_back, ZERO, self.of_input)
        return self.of_input

    def descend(self) -> None:
        """Take a step along all slopes that were added, and forget them."""
        for lanes, slopes, moment, weights in zip(
            (self.of_weight, self.of_bias), self.slopes, self.moments, (self.weight, self.bias), strict=True
        ):
            sum_lanes(lanes.reshape(-1, LANES), slopes.reshape(-1))
            descend(slopes, moment, self.momentum, self.rate, weights)
        self.forget()
        self._pack()

    def forget(self) -> None:
        """Forget all slopes that were added."""
        self.of_weight[:] = 0
        self.of_bias[:] = 0

    def named(self) -> dict[str, Floats]:
        """Return the weights by their names, as the state dict has them."""
        shape = self.layer.outputs, self.layer.channels, self.layer.size, self.layer.size
        return {"weight": self.weight.reshape(shape), "bias": self.bias[0]}


class CompiledLinear:
    """A linear layer's weights, slopes and tables."""

    def __init__(self, layer: Linear, weights: Weights, rate: np.float32, momentum: np.float32, groups: int) -> None:
        self.layer, self.rate, self.momentum = layer, rate, momentum
        self.weight = np.array(weights[f"{layer.name}.weight"], np.float32, order="C")
        self.bias = np.array(weights[f"{layer.name}.bias"], np.float32).reshape(1, -1)
        self.moments = np.zeros_like(self.weight), np.zeros_like(self.bias)
        self.made, self.slopes = (room(groups, layer.outputs, LANES) for _ in range(2))
        whole = -(-layer.inputs // LANES) * LANES
        self.by_example = room(groups * LANES, whole)
        self.of_weight, self.of_bias = room(layer.outputs, whole), np.zeros_like(self.bias)
        self.near, self.far = np.arange(layer.inputs) * ITEM, np.arange(layer.inputs) * LINE
        self.near_back = np.arange(layer.outputs) * layer.inputs * ITEM
        self.far_back = np.arange(layer.outputs) * LINE
        self.near_examples = table(np.arange(groups) * layer.outputs * LANES, np.arange(LANES)) // LANES
        self.far_examples = np.arange(groups * LANES) * whole * ITEM

    def forward(self, features: Floats) -> Floats:
        """Return what it makes of the features (G, F, 16), (G, O, 16)."""
        made = self.made[: len(features)]
        multiply(features, self.weight, self.bias[0], self.near, self.far, self.layer.rectify, made)
        return made

    def backward(self, slopes: Floats, of_features: Floats) -> None:
        """Write the slopes of the features, from those of what it made of them."""
        if self.layer.rectify:
            rectify_back(self.made[: len(slopes)], slopes)
        multiply_back(slopes, self.weight, self.near_back, self.far_back, ZERO, of_features)

    def learn(self, features: Floats, slopes: Floats) -> None:
        """Take a step along the slopes of the weights, after :meth:`backward`."""
        linear_slopes(
            slopes,
            features,
            self.by_example,
            self.near_examples,
            self.far_examples,
            ZERO,
            self.of_weight,
            self.of_bias[0],
        )
        descend(self.of_weight, self.moments[0], self.momentum, self.rate, self.weight)
        descend(self.of_bias, self.moments[1], self.momentum, self.rate, self.bias)

    def named(self) -> dict[str, Floats]:
        """Return the weights by their names, as the state dict has them."""
        return {"weight": self.weight, "bias": self.bias[0]}


def room(*shape: int) -> Floats:
    """Return zeros that begin at a multiple of ``LINE`` bytes."""
    items = math.prod(shape)
    whole = np.zeros(items + LINE // ITEM, np.float32)
    skipped = (-whole.ctypes.data % LINE) // ITEM
    return whole[skipped : skipped + items].reshape(shape)


def table(*steps: NDArray[Any]) -> NDArray[np.int64]:
    """Return the bytes to every combination of steps, each in vectors; the last one changes first."""
    total = np.zeros(1, np.int64)
    for step in steps:
        total = (total[:, None] + step).ravel()
    return total * LINE


def size(shape: tuple[int, ...]) -> str:
    """Return a shape in words."""
    return " x ".join(map(str, shape))
