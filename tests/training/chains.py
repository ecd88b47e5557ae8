"""Chains of layers with images for them, and the same by torch in double precision, step by step."""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from fedsec.training.chain import Chain, Convolution, Linear
from fedsec.training.compiled_chain import CompiledChain

EXAMPLES = 40


@dataclass(frozen=True)
class Case:
    """A network, and images of a size for it."""

    convolutions: tuple[Convolution, ...]
    hidden: tuple[int, ...]
    height: int
    width: int
    classes: int = 5
    hidden_rectify: bool = True

    def chain(self) -> Chain:
        """Return the layers, with as many features as the images give."""
        height, width = self.height, self.width
        for layer in self.convolutions:
            height, width = (side + 2 * layer.padding - layer.size + 1 for side in (height, width))
            height, width = (height // 2, width // 2) if layer.pool else (height, width)
        sizes = [self.convolutions[-1].outputs * height * width, *self.hidden, self.classes]
        last = len(sizes) - 2
        linears = [
            Linear(f"fc{place}", inputs, outputs, self.hidden_rectify and place < last)
            for place, (inputs, outputs) in enumerate(itertools.pairwise(sizes))
        ]
        return Chain(self.convolutions, tuple(linears))


LENET5 = Case(
    (Convolution("c1", 1, 6, 5, 2, True, True), Convolution("c2", 6, 16, 5, 0, True, True)), (120, 84), 28, 28
)
CASES = {
    "LeNet-5": LENET5,
    "three channels, odd sides": Case((Convolution("c1", 3, 7, 3, 1, True, True),), (), 9, 7),
    "no pool": Case(
        (Convolution("c1", 2, 5, 3, 0, False, True), Convolution("c2", 5, 3, 2, 1, True, False)), (9,), 8, 9
    ),
    "no ReLU": Case((Convolution("c1", 1, 4, 3, 2, False, False),), (17,), 6, 6, hidden_rectify=False),
    "one pixel": Case((Convolution("c1", 1, 1, 1, 0, False, True),), (), 1, 1, 2),
    "wide": Case((Convolution("c1", 1, 13, 4, 3, True, True),), (33, 16), 5, 21, 11),
}


@dataclass(frozen=True)
class Examples:
    """Images, labels, what stands for each byte, and weights to start from."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    values: NDArray[np.float32]
    weights: dict[str, NDArray[np.float32]]


def examples_of(case: Case, seed: int = 0) -> Examples:
    rng, chain = np.random.default_rng(seed), case.chain()
    channels = chain.convolutions[0].channels
    shapes = {layer.name: (layer.outputs, layer.channels, layer.size, layer.size) for layer in chain.convolutions}
    shapes |= {linear.name: (linear.outputs, linear.inputs) for linear in chain.linears}
    weights = {}
    for name, shape in shapes.items():
        weights[f"{name}.weight"] = rng.normal(0, np.prod(shape[1:]) ** -0.5, shape).astype(np.float32)
        weights[f"{name}.bias"] = rng.normal(0, 0.1, shape[0]).astype(np.float32)
    images = rng.integers(0, 256, (EXAMPLES, channels, case.height, case.width), np.uint8)
    values = rng.normal(size=(channels, 256)).astype(np.float32)
    return Examples(images, rng.integers(0, case.classes, EXAMPLES), values, weights)


class Oracle:
    """The same network by torch, in double precision, step by step."""

    def __init__(self, chain: Chain, given: Examples, rate: float, momentum: float) -> None:
        self.chain, self.given = chain, given
        self.weights = {name: torch.tensor(array).double().requires_grad_() for name, array in given.weights.items()}
        self.optimiser = torch.optim.SGD(self.weights.values(), rate, momentum)

    def step(self, chosen: NDArray[np.int64]) -> float:
        loss = F.cross_entropy(self.logits(self.pixels(chosen)), torch.from_numpy(self.given.labels[chosen]))
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return float(loss.detach()) * len(chosen)

    def pixels(self, chosen: NDArray[np.int64]) -> torch.Tensor:
        images, values = self.given.images[chosen], self.given.values
        return torch.from_numpy(np.stack([values[c, images[:, c]] for c in range(images.shape[1])], axis=1)).double()

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.chain.convolutions:
            x = F.conv2d(x, self.weights[f"{layer.name}.weight"], self.weights[f"{layer.name}.bias"], 1, layer.padding)
            x = F.max_pool2d(x, 2) if layer.pool else x
            x = F.relu(x) if layer.rectify else x
        x = x.flatten(1)
        for linear in self.chain.linears:
            x = F.linear(x, self.weights[f"{linear.name}.weight"], self.weights[f"{linear.name}.bias"])
            x = F.relu(x) if linear.rectify else x
        return x


def compiled(
    case: Case, given: Examples, rate: float = 0.05, momentum: float = 0.0, batch_size: int = 64
) -> CompiledChain:
    return CompiledChain(
        case.chain(), given.weights, given.images, given.labels, given.values, batch_size, rate, momentum
    )
