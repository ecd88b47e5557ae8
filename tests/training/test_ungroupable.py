"""A network with anything in it that is not known to keep lanes apart is trained one lane at a time."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fedsec.training.grouped import group_model
from tests.training.conftest import Network

Forward = Callable[[Any, torch.Tensor], Any]


class OwnConvolution(nn.Conv2d):
    """Might do anything."""


class TwoInputs(nn.Module):
    def forward(self, images: torch.Tensor, more: torch.Tensor) -> torch.Tensor:
        return torch.flatten(images + more, 1)


def conv(**options: Any) -> nn.Conv2d:
    return nn.Conv2d(1, 4, 3, **options)


def between(function: Callable[[Any], Any]) -> nn.Module:
    """Return a network that does something unusual with its images."""
    return Network(lambda net, x: net.f(function(net.c(x)).flatten(1)), c=conv(), f=nn.Linear(4, 3))


def layer(module: nn.Module) -> nn.Module:
    """Return a network with an unusual layer for its images."""
    return Network(lambda net, x: net.f(net.m(net.c(x)).flatten(1)), c=conv(), m=module, f=nn.Linear(4, 3))


def after(module: nn.Module) -> nn.Module:
    """Return a network with an unusual layer for its features."""
    return Network(lambda net, x: net.f(net.m(net.c(x).flatten(1))), c=conv(), m=module, f=nn.Linear(4, 3))


def whole(forward: Forward) -> nn.Module:
    return Network(forward, c=conv(), f=nn.Linear(4, 3), p=nn.MaxPool2d(1, return_indices=True))


def hooked(name: str) -> nn.Module:
    model = layer(nn.ReLU())
    model.get_submodule(name).register_forward_hook(lambda module, given, result: 2 * result)
    return model


def shared(tie: Callable[[Any], None]) -> nn.Module:
    model = Network(lambda net, x: net.b(net.a(net.c(x).flatten(1))), c=conv(), a=nn.Linear(4, 4), b=nn.Linear(4, 4))
    tie(model)
    return model


def with_parameter() -> nn.Module:
    model = between(lambda x: x)
    model.register_parameter("shift", nn.Parameter(torch.zeros(4, 1, 1)))
    model.compute = lambda net, x: net.f((net.c(x) + net.shift).flatten(1))
    return model


UNGROUPABLE: dict[str, Callable[[], nn.Module]] = {
    "dropout": lambda: layer(nn.Dropout()),
    "F.dropout": lambda: between(F.dropout),
    "BatchNorm1d": lambda: after(nn.BatchNorm1d(4)),
    "BatchNorm2d without statistics": lambda: layer(nn.BatchNorm2d(4, track_running_stats=False)),
    "BatchNorm2d with a cumulative average": lambda: layer(nn.BatchNorm2d(4, momentum=None)),
    "InstanceNorm2d": lambda: layer(nn.InstanceNorm2d(4)),
    "GroupNorm": lambda: layer(nn.GroupNorm(2, 4)),
    "LayerNorm": lambda: after(nn.LayerNorm(4)),
    "softmax module over channels": lambda: layer(nn.Softmax(1)),
    "softmax over channels": lambda: between(lambda x: torch.softmax(x, 1)),
    "F.softmax over features": lambda: after(nn.LogSoftmax(1)),
    "mean over channels": lambda: between(lambda x: x.mean(1, keepdim=True)),
    "torch.mean": lambda: between(lambda x: x - torch.mean(x)),
    "sum over the batch": lambda: between(lambda x: x.sum(0)),
    "concatenation": lambda: between(lambda x: torch.cat([x, x], 1)),
    "indexing": lambda: between(lambda x: x[:, :2]),
    "view": lambda: whole(lambda net, x: net.f(net.c(x).view(-1, 4))),
    "shape": lambda: whole(lambda net, x: net.f(net.c(x).reshape(x.shape[0], 4))),
    "multiplication": lambda: between(lambda x: x * x),
    "noise": lambda: between(lambda x: x + torch.rand(1)),
    "a decision on the data": lambda: between(lambda x: x if x.sum() > 0 else -x),
    "two inputs": TwoInputs,
    "reflecting padding": lambda: layer(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")),
    "circular padding": lambda: layer(nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular")),
    "transposed convolution": lambda: layer(nn.ConvTranspose2d(4, 4, 3)),
    "convolution of one's own": lambda: layer(OwnConvolution(4, 4, 1)),
    "PReLU": lambda: layer(nn.PReLU()),
    "weights used outside a layer": lambda: whole(lambda net, x: F.linear(net.c(x).flatten(1), net.f.weight)),
    "a parameter that is no layer's": with_parameter,
    "flattened from the start": lambda: whole(lambda net, x: net.f(torch.flatten(net.c(x)))),
    "flattened from the height": lambda: whole(lambda net, x: net.f(net.c(x).flatten(2))),
    "flattened twice": lambda: whole(lambda net, x: net.f(net.c(x).flatten(1).flatten(1))),
    "linear on images": lambda: whole(lambda net, x: net.f(x).flatten(1)),
    "convolution on features": lambda: whole(lambda net, x: net.c(net.f(net.c(x).flatten(1)))),
    "pooling of features": lambda: whole(lambda net, x: net.f(F.max_pool2d(net.c(x).flatten(1), 1))),
    "images plus features": lambda: whole(lambda net, x: net.f(net.c(x) + net.c(x).flatten(1))),
    "pooling with indices": lambda: whole(lambda net, x: net.f(net.p(net.c(x))[0].flatten(1))),
    "F.max_pool2d with indices": lambda: between(lambda x: F.max_pool2d(x, 1, return_indices=True)[0]),
    "images at the end": lambda: whole(lambda net, x: net.c(x)),
    "its input at the end": lambda: whole(lambda net, x: x),
    "two outputs": lambda: whole(lambda net, x: (net.f(net.c(x).flatten(1)), x)),
    "outputs by name": lambda: whole(lambda net, x: {"logits": net.f(net.c(x).flatten(1))}),
    "a hook on a layer": lambda: hooked("f"),
    "a hook on the network": lambda: hooked(""),
    "weight norm": lambda: layer(nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1))),
    "spectral norm with hooks": lambda: layer(nn.utils.spectral_norm(nn.Conv2d(4, 4, 1))),
    "a layer under two names": lambda: shared(lambda net: net.add_module("b", net.a)),
    "a weight of two layers": lambda: shared(lambda net: setattr(net.b, "weight", net.a.weight)),
    "LSTM": lambda: after(nn.LSTM(4, 4)),
}


@pytest.mark.parametrize("name", UNGROUPABLE)
def test_it_is_not_grouped(name: str) -> None:
    assert group_model(UNGROUPABLE[name]()) is None


@pytest.mark.parametrize("make", [between, whole], ids=["between", "whole"])
def test_the_same_networks_without_anything_unusual_are(make: Callable[[Any], nn.Module]) -> None:
    usual = (lambda x: x) if make is between else lambda net, x: net.f(net.c(x).flatten(1))
    assert group_model(make(usual)) is not None
    assert group_model(layer(nn.ReLU())) is not None
    assert group_model(after(nn.Tanh())) is not None
    assert group_model(shared(lambda net: None)) is not None
