"""Local SGD of a small image network by compiled code: the steps of :func:`.classifier.train_classifier`, to rounding.

torch spends most of a step of LeNet-5 on memory: what every operation writes for the next one does not fit into the
memory near a core. Here sixteen examples go through at a time, and all of it fits.
"""

import itertools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedsec.training.chain import Chain
from fedsec.training.compiled_convolutions import load_images
from fedsec.training.compiled_instructions import LANES
from fedsec.training.compiled_layers import CompiledConvolution, CompiledLinear, Floats, Weights, room, size
from fedsec.training.compiled_linears import cross_entropy


class CompiledChain:
    """A network that is trained on given examples.

    Args:
        chain: its layers.
        weights: what it starts from, by the names of the state dict; not changed.
        images: (N, C, H, W) uint8.
        labels: (N,) int64, each below the number of the last layer's outputs.
        values: (C, 256) float32, what stands for each byte.
        batch_size: most examples of a step.
        rate: the step size.
        momentum: of SGD; 0 is plain SGD.

    Raises:
        ValueError: the layers, the weights, the images and the labels do not fit together.
    """

    def __init__(
        self,
        chain: Chain,
        weights: Weights,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        values: Floats,
        batch_size: int,
        rate: float,
        momentum: float = 0.0,
    ) -> None:
        _check(chain, weights, images, labels, values)
        self.images, self.labels, self.values = _locked(images), _locked(labels), values
        self.batch_size = batch_size
        groups, pace = -(-batch_size // LANES), (np.float32(rate), np.float32(momentum))
        self.convolutions = [CompiledConvolution(layer, weights, *pace) for layer in chain.convolutions]
        shape: tuple[int, ...] = images.shape[1:]
        for layer in self.convolutions:
            shape = layer.fit(shape, groups)
        self.linears = [CompiledLinear(layer, weights, *pace, groups) for layer in chain.linears]
        if math.prod(shape) != chain.linears[0].inputs:
            wanted = f"layer '{chain.linears[0].name}' takes {chain.linears[0].inputs} features"
            raise ValueError(f"{wanted} and images of {size(images.shape[1:])} give {math.prod(shape)}")
        self.features, self.wanted = (room(groups, *shape, LANES) for _ in range(2))

    def step(self, chosen: NDArray[np.int64]) -> float:
        """Take a step on the ``chosen`` examples; return the sum of their losses before it.

        Args:
            chosen: (B,) which of them, 1 <= B <= the batch size.

        Raises:
            ValueError: there are none or too many, or one of them is no example.
        """
        features = self._forward(chosen)
        loss: float = cross_entropy(features, self.labels, chosen, self.linears[-1].slopes[: len(features)])
        self._backward(len(features))
        return loss

    def logits(self, chosen: NDArray[np.int64]) -> Floats:
        """Return what the network makes of the ``chosen`` examples (B,), (B, outputs); for limits see :meth:`step`."""
        by_lane = self._forward(chosen).transpose(0, 2, 1)
        return by_lane.reshape(-1, by_lane.shape[2])[: len(chosen)]

    def _forward(self, chosen: NDArray[np.int64]) -> Floats:
        """Return the logits (groups, outputs, 16)."""
        if not 0 < len(chosen) <= self.batch_size:
            raise ValueError(f"a step takes 1 to {self.batch_size} examples, got {len(chosen)}")
        if chosen.min() < 0 or chosen.max() >= len(self.labels):
            raise ValueError(f"there are {len(self.labels)} examples, got {chosen.min()} to {chosen.max()}")
        groups = -(-len(chosen) // LANES)
        first = self.convolutions[0]
        load_images(self.images, chosen, self.values, first.layer.padding, first.padded)
        for group in range(groups):
            for layer, following in zip(self.convolutions, [*self.convolutions[1:], None], strict=True):
                layer.forward(group, *self._result_of(following, group))
        features = self.features[:groups].reshape(groups, -1, LANES)
        for linear in self.linears:
            features = linear.forward(features)
        return features

    def _result_of(self, following: "CompiledConvolution | None", group: int) -> tuple[Floats, int]:
        """Return where a convolution's result goes, and the width of the border there."""
        if following is None:
            return self.features[group], 0
        return following.padded[group], following.layer.padding

    def _backward(self, groups: int) -> None:
        features = [
            self.features[:groups].reshape(groups, -1, LANES),
            *(linear.made[:groups] for linear in self.linears),
        ]
        slopes = [self.wanted[:groups].reshape(groups, -1, LANES), *(linear.slopes[:groups] for linear in self.linears)]
        for place in reversed(range(len(self.linears))):
            self.linears[place].backward(features[place], slopes[place + 1], slopes[place])
        for group in range(groups):
            slopes_of_made = self.wanted[group]
            for place in reversed(range(len(self.convolutions))):
                following = self.convolutions[place + 1] if place + 1 < len(self.convolutions) else None
                slopes_of_made = self.convolutions[place].backward(
                    group, slopes_of_made, *self._result_of(following, group), first=place == 0
                )
        for layer in self.convolutions:
            layer.descend()

    def weights(self) -> dict[str, Floats]:
        """Return the weights as they are now, by the names of the state dict."""
        layers: Iterable[CompiledConvolution | CompiledLinear] = [*self.convolutions, *self.linears]
        return {f"{layer.layer.name}.{kind}": array for layer in layers for kind, array in layer.named().items()}


def _locked(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array in one piece and not to be written to: for numba another kind would be another function."""
    locked = np.ascontiguousarray(array).view()
    locked.flags.writeable = False
    return locked


def _check(
    chain: Chain, weights: Weights, images: NDArray[np.uint8], labels: NDArray[np.int64], values: Floats
) -> None:
    """Refuse what compiled code, which works on addresses, would read or write beyond its end."""
    for layer in chain.convolutions:
        _check_weights(layer.name, (layer.outputs, layer.channels, layer.size, layer.size), weights)
    for linear in chain.linears:
        _check_weights(linear.name, (linear.outputs, linear.inputs), weights)
    for before, after in itertools.pairwise(chain.linears):
        if before.outputs != after.inputs:
            raise ValueError(f"layer '{after.name}' takes {after.inputs} features, got {before.outputs}")
    if images.dtype != np.uint8 or images.ndim != 4 or values.shape != (images.shape[1], 256):
        raise ValueError(f"images are (N, {len(values)}, H, W) uint8, got {images.shape} {images.dtype}")
    if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
        raise ValueError(f"labels are ({len(images)},) int64, got {labels.shape} {labels.dtype}")
    classes = chain.linears[-1].outputs
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"labels are 0 to {classes - 1}, got {labels.min()} to {labels.max()}")


def _check_weights(name: str, shape: tuple[int, ...], weights: Weights) -> None:
    for kind, wanted in (("weight", shape), ("bias", shape[:1])):
        if (found := weights[f"{name}.{kind}"].shape) != wanted:
            raise ValueError(f"'{name}.{kind}' is of shape {wanted}, got {found}")
