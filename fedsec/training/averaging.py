"""A network whose weights are the running average of another's.

Yazici et al., *The Unusual Effectiveness of Averaging in GAN Training*, 2019.  arXiv:1806.04498
"""

from copy import deepcopy

import torch
from torch import nn

WARMUP = 10


class Average:
    """The exponential average of a network's weights and buffers while it trains.

    A GAN's networks circle about what they learn, and where they stand at the end is chance; the average is not.

    Attributes:
        network: with the averaged weights, in eval mode.

    Args:
        network: the one that trains.
        decay: how much of the average one update keeps; the first updates keep less, lest the first weights show.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.network = deepcopy(network).eval().requires_grad_(False)
        pairs = list(zip(self.network.state_dict().values(), network.state_dict().values(), strict=True))
        self.averaged = [(ours, theirs) for ours, theirs in pairs if ours.is_floating_point()]
        self.copied = [(ours, theirs) for ours, theirs in pairs if not ours.is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Take the network's present weights into the average."""
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + WARMUP))
        torch._foreach_lerp_([ours for ours, _ in self.averaged], [theirs for _, theirs in self.averaged], 1 - decay)
        for ours, theirs in self.copied:
            ours.copy_(theirs)
