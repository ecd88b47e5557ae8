"""Adaptive augmentation of what a client's discriminator sees.

Karras et al., *Training Generative Adversarial Networks with Limited Data*, NeurIPS 2020, section 3.1.
arXiv:2006.06676
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fedsec.training.ada import BATCHES, adapted, augmented, overfitting


@dataclass(slots=True)
class Augmentation:
    """How likely a change of an image is now, and what has been seen since that was last decided.

    Each client has its own: it stays with the discriminator whose overfitting it measures.

    Attributes:
        p: probability of every change.
        overfit: sum of r_t over the batches seen since then.
        batches: how many these are; after four, ``p`` changes.
    """

    p: float = 0.0
    overfit: float = 0.0
    batches: int = 0

    def __call__(self, images: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
        """Return ``images`` (N, C, H, W) in [-1, 1] as the discriminator is to see them."""
        return augmented(images, self.p, draws)

    def observe(self, on_real: torch.Tensor) -> None:
        """Take account of the discriminator's logits (N,) of a batch of real images."""
        self.overfit += overfitting(on_real)
        self.batches += 1
        if self.batches == BATCHES:
            self.p = adapted(self.p, self.overfit / BATCHES, BATCHES * len(on_real))
            self.overfit, self.batches = 0.0, 0

    def to_array(self) -> NDArray[np.float64]:
        """Return p, the sum and the count, (3,)."""
        return np.array([self.p, self.overfit, self.batches])

    def from_array(self, array: NDArray[np.generic]) -> None:
        """Go on from what :meth:`to_array` returned."""
        self.p, self.overfit = float(array[0]), float(array[1])
        self.batches = int(array[2])
