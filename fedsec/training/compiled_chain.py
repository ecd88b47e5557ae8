"""Local SGD of a small image network by compiled code: the steps of :mod:`.classifier`, to rounding."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedsec.training.chain import Chain
from fedsec.training.compiled_convolutions import load_images
from fedsec.training.compiled_instructions import LANES
from fedsec.training.compiled_layers import Floats, Weights
from fedsec.training.compiled_linears import cross_entropy
from fedsec.training.compiled_pass import CompiledPass, check_weights


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
        self.layers = CompiledPass(chain, weights, images.shape[1:], batch_size, rate, momentum)

    def step(self, chosen: NDArray[np.int64]) -> float:
        """Take a step on the ``chosen`` examples; return the sum of their losses before it.

        Args:
            chosen: (B,) which of them, 1 <= B <= the batch size.

        Raises:
            ValueError: there are none or too many, or one of them is no example.
        """
        features = self._forward(chosen)
        loss: float = cross_entropy(features, self.labels, chosen, self.layers.slopes[: len(features)])
        self.layers.learn(len(features))
        return loss

    def set_rate(self, rate: float) -> None:
        """Change the step size, from the next step on."""
        self.layers.set_rate(rate)

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
        first = self.layers.convolutions[0]
        load_images(self.images, chosen, self.values, first.layer.padding, first.padded)
        return self.layers.forward(-(-len(chosen) // LANES))

    def weights(self) -> dict[str, Floats]:
        """Return the weights as they are now, by the names of the state dict."""
        return self.layers.named()


def _locked(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array in one piece and not to be written to: for numba another kind would be another function."""
    locked = np.ascontiguousarray(array).view()
    locked.flags.writeable = False
    return locked


def _check(
    chain: Chain, weights: Weights, images: NDArray[np.uint8], labels: NDArray[np.int64], values: Floats
) -> None:
    """Refuse what compiled code, which works on addresses, would read or write beyond its end."""
    check_weights(chain, weights)
    if images.dtype != np.uint8 or images.ndim != 4 or values.shape != (images.shape[1], 256):
        raise ValueError(f"images are (N, {len(values)}, H, W) uint8, got {images.shape} {images.dtype}")
    if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
        raise ValueError(f"labels are ({len(images)},) int64, got {labels.shape} {labels.dtype}")
    classes = chain.linears[-1].outputs
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"labels are 0 to {classes - 1}, got {labels.min()} to {labels.max()}")
