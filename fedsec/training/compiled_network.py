"""A network whose weights stay as they are, by compiled code, for whoever wants gradients by its images.

A generator that is trained against a fixed network needs no slopes of that network's weights. For LeNet-5 and 160
images, logits and gradients by the images take 4 ms on two cores, and torch takes 16 ms on one.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedsec.training.batches import Normalisation
from fedsec.training.chain import Chain
from fedsec.training.compiled_instructions import LANES
from fedsec.training.compiled_layers import Floats, Weights, room
from fedsec.training.compiled_pass import CompiledPass, check_weights
from fedsec.training.threads import workers


class CompiledNetwork(nn.Module):
    """A fixed network, from images in [0, 1] to logits; on a CPU, and differentiable once by the images.

    Sixteen images go through at a time, each lot on one core: the result does not depend on how many cores there are.

    Args:
        chain: the layers.
        weights: by the names of the state dict; copied.
        normalise: mean and deviation of each channel, in units of the full range.

    Raises:
        ValueError: the weights are not those of the layers.
    """

    def __init__(self, chain: Chain, weights: Weights, normalise: Normalisation) -> None:
        super().__init__()
        check_weights(chain, weights)
        self.chain, self.normalise = chain, normalise
        self.weights = {name: np.array(array) for name, array in weights.items()}
        self.mean, self.std = (torch.tensor(values).view(1, -1, 1, 1) for values in (normalise.mean, normalise.std))
        self._parts: list[_Part] = []
        self._lot = LANES  # images that a part takes of the batch that went through last
        self._turn = 0  # which batch that was: its slopes can be asked for, and no other's

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (N, classes) of images (N, C, H, W) in [0, 1].

        Raises:
            ValueError: the images do not fit the layers.
        """
        logits: torch.Tensor = _Answer.apply((images - self.mean) / self.std, self)
        return logits

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy what it is made of: where its room begins matters, so that is made anew."""
        return CompiledNetwork, (self.chain, self.weights, self.normalise)

    def logits(self, pixels: Floats) -> Floats:
        """Return what the network makes of normalised images (N, C, H, W), (N, classes)."""
        self._turn += 1
        self._fit(pixels.shape)
        return np.concatenate(self._each(_Part.forward, pixels))

    def slopes(self, of_logits: Floats) -> Floats:
        """Return the slopes of the images that went through last, from those of their logits."""
        return np.concatenate(self._each(_Part.back, of_logits))

    def _fit(self, shape: tuple[int, ...]) -> None:
        groups = _groups(shape[0])
        self._lot = LANES * -(-groups // workers(torch.device("cpu")))
        needed = -(-groups * LANES // self._lot)
        few = len(self._parts) < needed
        if few or self._parts[0].shape != shape[1:] or self._parts[0].most < self._lot:
            self._parts = [_Part(self.chain, self.weights, shape[1:], self._lot) for _ in range(needed)]

    def _each(self, function: Any, values: Floats) -> list[Floats]:
        pieces = [values[first : first + self._lot] for first in range(0, max(1, len(values)), self._lot)]
        if len(pieces) == 1:
            return [function(self._parts[0], values)]
        with ThreadPoolExecutor(len(pieces)) as pool:
            return list(pool.map(function, self._parts, pieces))


class _Part:
    """What one core works on."""

    def __init__(self, chain: Chain, weights: Weights, shape: tuple[int, ...], most: int) -> None:
        self.shape, self.most = shape, most
        self.layers = CompiledPass(chain, weights, shape, most)
        self.of_images = room(most // LANES, *shape, LANES)

    def forward(self, pixels: Floats) -> Floats:
        first, groups = self.layers.convolutions[0], _groups(len(pixels))
        pad, (height, width) = first.layer.padding, self.shape[1:]
        _by_lane(pixels, first.padded[:, :, pad : pad + height, pad : pad + width])
        return _by_example(self.layers.forward(groups), len(pixels))

    def back(self, of_logits: Floats) -> Floats:
        groups = _groups(len(of_logits))
        self.layers.slopes[:groups] = 0.0
        _by_lane(of_logits, self.layers.slopes)
        self.layers.back(groups, self.of_images)
        return _by_example(self.of_images[:groups], len(of_logits))


def _groups(number: int) -> int:
    """Return in how many lots of sixteen so many examples go: none of them in one."""
    return max(1, -(-number // LANES))


def _by_lane(values: NDArray[np.float32], result: Floats) -> None:
    """Write values (N, ...) into ``result`` (groups, ..., 16); what lies beyond N stays."""
    groups, rest = divmod(len(values), LANES)
    whole = values[: groups * LANES].reshape(groups, LANES, *values.shape[1:])
    result[:groups] = np.moveaxis(whole, 1, -1)
    if rest:
        result[groups, ..., :rest] = np.moveaxis(values[groups * LANES :], 0, -1)


def _by_example(values: Floats, number: int) -> Floats:
    """Return values (groups, ..., 16) as (number, ...), of one group without a copy."""
    return np.moveaxis(values, -1, 1).reshape(len(values) * LANES, *values.shape[1:-1])[:number]


class _Answer(torch.autograd.Function):
    """What a network makes of images; on the way back, the slopes of the images that it was asked about last."""

    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, network: CompiledNetwork) -> torch.Tensor:
        logits = network.logits(images.detach().numpy())
        ctx.network, ctx.turn = network, network._turn
        return torch.from_numpy(logits)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_logits: torch.Tensor) -> tuple[torch.Tensor, None]:
        if ctx.turn != ctx.network._turn:
            raise RuntimeError("a compiled network was asked about other images before the gradients of these")
        return torch.from_numpy(ctx.network.slopes(of_logits.numpy())), None
