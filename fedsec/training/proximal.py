"""A penalty on the distance to another model: what keeps a poisoned one near an honest one."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn


def hold_near(
    optimiser: torch.optim.Optimizer, model: nn.Module, anchor: Sequence[torch.Tensor], weight: float
) -> None:
    """Have every step of ``optimiser`` also descend weight * ||w - anchor||^2, whose gradient is 2 weight (w - anchor).

    The loss that is reported stays the one without it.

    Args:
        optimiser: of the model's parameters.
        model: what it trains.
        anchor: what the parameters are held near, in their order.
        weight: of the squared L2 distance.

    Raises:
        ValueError: the anchor is of another model.
    """
    pairs = list(zip(model.parameters(), anchor, strict=True))
    if other := [(tuple(p.shape), tuple(a.shape)) for p, a in pairs if p.shape != a.shape]:
        raise ValueError(f"an anchor must have the model's shapes; got {other[0][1]} for {other[0][0]}")

    @torch.no_grad()
    def pull(*_: Any) -> None:
        for parameter, held in pairs:
            if parameter.grad is not None:
                parameter.grad.add_(parameter - held, alpha=2.0 * weight)

    optimiser.register_step_pre_hook(pull)
