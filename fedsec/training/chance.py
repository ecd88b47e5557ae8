"""Numbers of which most are zero: how much each image is changed, where a change has a probability."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Chance:
    """Random numbers for each image, with probability ``p``, and else zeros, which change nothing.

    Attributes:
        number: images, N.
        p: probability that an image is changed.
        draws: generator of the CPU.
    """

    number: int
    p: float
    draws: torch.Generator

    def normals(self, count: int) -> torch.Tensor:
        """Return numbers (count, N) from N(0, 1), float64; an image's own are all drawn or all zero."""
        return self._sometimes(torch.randn(count, self.number, generator=self.draws, dtype=torch.float64))

    def uniforms(self, count: int) -> torch.Tensor:
        """Return numbers (count, N) evenly from -1 to 1, float64; an image's own are all drawn or all zero."""
        return self._sometimes(torch.rand(count, self.number, generator=self.draws, dtype=torch.float64) * 2 - 1)

    def integers(self, below: int) -> torch.Tensor:
        """Return one of 0, 1, ..., ``below`` - 1 for each image, (N,) float64; zero is among them."""
        numbers = torch.randint(below, (1, self.number), generator=self.draws).double()
        return self._sometimes(numbers)[0]

    def _sometimes(self, numbers: torch.Tensor) -> torch.Tensor:
        return numbers * (torch.rand(self.number, generator=self.draws, dtype=torch.float64) < self.p)
