"""The penalty holds a model near another: its step is the gradient's, and more weight leaves less distance."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fedsec.training.proximal import hold_near


def model(seed: int) -> nn.Linear:
    layer = nn.Linear(3, 2)
    draws = np.random.default_rng(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.from_numpy(draws.normal(size=tuple(parameter.shape))))
    return layer


@given(st.integers(0, 50), st.floats(0.0, 4.0), st.sampled_from([0.0, 0.9]))
def test_steps_are_those_of_a_loss_that_has_the_penalty(seed: int, weight: float, momentum: float) -> None:
    held, slow = model(seed), model(seed)
    anchor = [parameter.detach().clone() for parameter in model(seed + 100).parameters()]
    inputs = torch.from_numpy(np.random.default_rng(seed).normal(size=(5, 3)).astype(np.float32))
    ours, theirs = (torch.optim.SGD(of.parameters(), 0.05, momentum) for of in (held, slow))
    hold_near(ours, held, anchor, weight)
    for _ in range(3):
        ours.zero_grad()
        held(inputs).square().mean().backward()
        ours.step()
        theirs.zero_grad()
        apart = sum((p - a).square().sum() for p, a in zip(slow.parameters(), anchor, strict=True))
        (slow(inputs).square().mean() + weight * apart).backward()
        theirs.step()
    for one, other in zip(held.parameters(), slow.parameters(), strict=True):
        np.testing.assert_allclose(one.detach(), other.detach(), rtol=1e-4, atol=1e-5)


def test_a_step_from_two_towards_zero_by_hand() -> None:
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(2.0)
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.1)
    hold_near(optimiser, layer, [torch.zeros(1, 1)], 0.5)
    (3.0 * layer.weight).sum().backward()
    optimiser.step()
    assert layer.weight.item() == pytest.approx(2.0 - 0.1 * (3.0 + 2 * 0.5 * 2.0))


def test_an_anchor_of_another_model_is_refused() -> None:
    layer = model(0)
    optimiser = torch.optim.SGD(layer.parameters(), 0.1)
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        hold_near(optimiser, layer, [torch.zeros(2, 3)], 1.0)
    with pytest.raises(ValueError, match=r"must have the model's shapes; got \(3, 2\) for \(2, 3\)"):
        hold_near(optimiser, layer, [torch.zeros(3, 2), torch.zeros(2)], 1.0)
