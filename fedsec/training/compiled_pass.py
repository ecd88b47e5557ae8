"""A batch's way through the layers of a chain and back, by compiled code.

torch spends most of a step of LeNet-5 on memory: what every operation writes for the next one does not fit into the
memory near a core. Here sixteen examples go through at a time, and all of it fits.
"""

import itertools
import math
from collections.abc import Iterator

import numpy as np

from fedsec.training.chain import Chain
from fedsec.training.compiled_instructions import LANES
from fedsec.training.compiled_layers import CompiledConvolution, CompiledLinear, Floats, Weights, room, size


class CompiledPass:
    """The layers of a network, with room for what goes through them.

    Whoever uses it writes a batch into ``convolutions[0].padded``, and the slopes of what comes of it into ``slopes``.

    Args:
        chain: the layers.
        weights: what they start from, see :func:`check_weights`; not changed.
        shape: (C, H, W) of an image.
        most: examples of a batch, at most.
        rate: the step size.
        momentum: of SGD; 0 is plain SGD.

    Attributes:
        convolutions: the first layers.
        linears: the last ones.
        slopes: (groups, outputs, 16) of the logits.

    Raises:
        ValueError: the layers and the images do not fit together.
    """

    def __init__(
        self,
        chain: Chain,
        weights: Weights,
        shape: tuple[int, ...],
        most: int,
        rate: float = 0.0,
        momentum: float = 0.0,
    ) -> None:
        groups, pace, given = -(-most // LANES), (np.float32(rate), np.float32(momentum)), shape
        self.convolutions = [CompiledConvolution(layer, weights, *pace) for layer in chain.convolutions]
        for layer in self.convolutions:
            shape = layer.fit(shape, groups)
        self.linears = [CompiledLinear(layer, weights, *pace, groups) for layer in chain.linears]
        if math.prod(shape) != chain.linears[0].inputs:
            wanted = f"layer '{chain.linears[0].name}' takes {chain.linears[0].inputs} features"
            raise ValueError(f"{wanted} and images of {size(given)} give {math.prod(shape)}")
        self._features, self._wanted = (room(groups, *shape, LANES) for _ in range(2))
        self.slopes = self.linears[-1].slopes

    def forward(self, groups: int) -> Floats:
        """Return the logits (groups, outputs, 16) of so many groups of examples."""
        for group in range(groups):
            for layer, following in zip(self.convolutions, [*self.convolutions[1:], None], strict=True):
                layer.forward(group, *self._result_of(following, group))
        features = self._features[:groups].reshape(groups, -1, LANES)
        for linear in self.linears:
            features = linear.forward(features)
        return features

    def learn(self, groups: int) -> None:
        """Take a step along the slopes of the weights."""
        first = self._features[:groups].reshape(groups, -1, LANES)
        features = [first, *(linear.made[:groups] for linear in self.linears)]
        slopes = self._slopes(groups)
        for place in reversed(range(len(self.linears))):
            self.linears[place].backward(slopes[place + 1], slopes[place])
            self.linears[place].learn(features[place], slopes[place + 1])
        for group in range(groups):
            for layer in self._receiving(group):
                layer.learn(group)
        for layer in self.convolutions:
            layer.descend()

    def back(self, groups: int, result: Floats) -> None:
        """Write the slopes of the images into ``result`` (groups, C, H, W, 16); the weights stay as they are."""
        slopes = self._slopes(groups)
        for place in reversed(range(len(self.linears))):
            self.linears[place].backward(slopes[place + 1], slopes[place])
        for group in range(groups):
            for layer in self._receiving(group):
                layer.forget()
            result[group] = self.convolutions[0].pass_on()

    def set_rate(self, rate: float) -> None:
        """Change the step size."""
        for layer in self._layers():
            layer.rate = np.float32(rate)

    def named(self) -> dict[str, Floats]:
        """Return the weights as they are now, by the names of the state dict."""
        return {f"{layer.layer.name}.{kind}": a for layer in self._layers() for kind, a in layer.named().items()}

    def _layers(self) -> list[CompiledConvolution | CompiledLinear]:
        return [*self.convolutions, *self.linears]

    def _slopes(self, groups: int) -> list[Floats]:
        """Return where the slopes of what every linear layer takes go, and those of the logits."""
        features = self._wanted[:groups].reshape(groups, -1, LANES)
        return [features, *(linear.slopes[:groups] for linear in self.linears)]

    def _receiving(self, group: int) -> Iterator[CompiledConvolution]:
        """Yield every convolution, the last one first, when it has received one group's slopes."""
        received, following = self._wanted[group], None
        for layer in reversed(self.convolutions):
            if following is not None:
                received = following.pass_on()
            layer.receive(group, received, *self._result_of(following, group))
            yield layer
            following = layer

    def _result_of(self, following: CompiledConvolution | None, group: int) -> tuple[Floats, int]:
        """Return where a convolution's result goes, and the width of the border there."""
        if following is None:
            return self._features[group], 0
        return following.padded[group], following.layer.padding


def check_weights(chain: Chain, weights: Weights) -> None:
    """Refuse weights that are not those of the layers: compiled code works on addresses, and would read beyond them.

    Args:
        chain: the layers.
        weights: by the names of the state dict.

    Raises:
        ValueError: one is of another shape, or layers do not fit each other.
    """
    for layer in chain.convolutions:
        _check_shape(layer.name, (layer.outputs, layer.channels, layer.size, layer.size), weights)
    for linear in chain.linears:
        _check_shape(linear.name, (linear.outputs, linear.inputs), weights)
    for before, after in itertools.pairwise(chain.linears):
        if before.outputs != after.inputs:
            raise ValueError(f"layer '{after.name}' takes {after.inputs} features, got {before.outputs}")


def _check_shape(name: str, shape: tuple[int, ...], weights: Weights) -> None:
    for kind, wanted in (("weight", shape), ("bias", shape[:1])):
        if (found := weights[f"{name}.{kind}"].shape) != wanted:
            raise ValueError(f"'{name}.{kind}' is of shape {wanted}, got {found}")
