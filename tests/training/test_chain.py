"""Which networks are a chain of convolutions and linear layers, and how they are read."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F

from fedsec.models.classifiers import build_classifier
from fedsec.training.chain import Chain, Convolution, Linear, compiled, read_chain


class Flatten(nn.Module):
    """Flattens as a network's own forward does: ``nn.Flatten`` is a layer, which no network here uses."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


class Network(nn.Module):
    """Layers, and how they are called."""

    def __init__(self, call: Callable[..., torch.Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.call = call
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.call(self, images)


def read(call: Callable[..., torch.Tensor], **layers: nn.Module) -> Chain | None:
    return read_network(Network(call, **layers))


def read_network(network: nn.Module) -> Chain | None:
    return read_chain(network, fx.symbolic_trace(network))


def plain(net: Any, x: torch.Tensor) -> torch.Tensor:
    return net.fc(F.relu(F.max_pool2d(net.conv(x), 2)).flatten(1))


def conv(*, channels: int = 1, outputs: int = 2, size: int = 3, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(channels, outputs, size, **options)


def fc(inputs: int = 18, outputs: int = 3, **options: Any) -> nn.Linear:
    return nn.Linear(inputs, outputs, **options)


def test_lenet5_is_a_chain() -> None:
    assert read_network(build_classifier("lenet5", 3, 32, 10)) == Chain(
        (Convolution("conv1", 3, 6, 5, 2, True, True), Convolution("conv2", 6, 16, 5, 0, True, True)),
        (Linear("fc1", 576, 120, True), Linear("fc2", 120, 84, True), Linear("fc3", 84, 10)),
    )


@pytest.mark.parametrize(
    "call",
    [
        plain,
        lambda net, x: net.fc(torch.flatten(F.max_pool2d(F.relu(net.conv(x)), (2)), 1)),
        lambda net, x: net.fc(torch.relu(F.max_pool2d(net.conv(x), 2, 2, 0, 1, False)).flatten(1)),
        lambda net, x: net.fc(F.relu(F.max_pool2d(net.conv(x), kernel_size=2, stride=2)).flatten(1)),
        lambda net, x: net.fc(F.relu(F.relu(F.max_pool2d(net.conv(x), 2))).flatten(1)),
    ],
)
def test_the_ways_to_write_it(call: Callable[..., torch.Tensor]) -> None:
    expected = Chain((Convolution("conv", 1, 2, 3, 0, True, True),), (Linear("fc", 18, 3),))
    assert read(call, conv=conv(), fc=fc()) == expected


def test_modules_are_read_as_functions_are() -> None:
    whole = nn.Sequential(conv(padding=2), nn.MaxPool2d(2), nn.ReLU(), Flatten(), fc(32, 4), nn.ReLU(), fc(4, 3))
    assert read_network(whole) == Chain(
        (Convolution("0", 1, 2, 3, 2, True, True),), (Linear("4", 32, 4, True), Linear("6", 4, 3))
    )


REFUSED: dict[str, tuple[Callable[..., torch.Tensor], dict[str, nn.Module]]] = {
    "a stride": (plain, {"conv": conv(stride=2), "fc": fc()}),
    "a dilation": (plain, {"conv": conv(dilation=2), "fc": fc()}),
    "groups": (plain, {"conv": conv(channels=2, groups=2), "fc": fc()}),
    "no bias of the convolution": (plain, {"conv": conv(bias=False), "fc": fc()}),
    "no bias of the linear layer": (plain, {"conv": conv(), "fc": fc(bias=False)}),
    "another border": (plain, {"conv": conv(padding=1, padding_mode="reflect"), "fc": fc()}),
    "a border in words": (plain, {"conv": conv(padding="same"), "fc": fc()}),
    "a border as wide as the kernel": (plain, {"conv": conv(padding=3), "fc": fc()}),
    "a border of two widths": (plain, {"conv": conv(padding=(1, 0)), "fc": fc()}),
    "an oblong kernel": (plain, {"conv": nn.Conv2d(1, 2, (3, 1)), "fc": fc()}),
    "pools of three": (lambda n, x: n.fc(F.max_pool2d(n.conv(x), 3).flatten(1)), {"conv": conv(), "fc": fc()}),
    "pools that overlap": (lambda n, x: n.fc(F.max_pool2d(n.conv(x), 2, 1).flatten(1)), {"conv": conv(), "fc": fc()}),
    "pools beyond the edge": (
        lambda n, x: n.fc(F.max_pool2d(n.conv(x), 2, ceil_mode=True).flatten(1)),
        {"conv": conv(), "fc": fc()},
    ),
    "pools by a module": (
        lambda n, x: n.fc(n.pool(n.conv(x)).flatten(1)),
        {"conv": conv(), "pool": nn.MaxPool2d(3), "fc": fc()},
    ),
    "two pools": (
        lambda n, x: n.fc(F.max_pool2d(F.max_pool2d(n.conv(x), 2), 2).flatten(1)),
        {"conv": conv(), "fc": fc()},
    ),
    "pools of the images": (
        lambda n, x: n.fc(n.conv(F.max_pool2d(x, 2)).flatten(1)),
        {"conv": conv(), "fc": fc()},
    ),
    "pools of features": (
        lambda n, x: n.fc(F.max_pool2d(n.conv(x).flatten(1), 2)),
        {"conv": conv(), "fc": fc()},
    ),
    "averages": (lambda n, x: n.fc(F.avg_pool2d(n.conv(x), 2).flatten(1)), {"conv": conv(), "fc": fc()}),
    "another activation": (lambda n, x: n.fc(torch.tanh(n.conv(x)).flatten(1)), {"conv": conv(), "fc": fc()}),
    "a bent ReLU": (
        lambda n, x: n.fc(n.bent(n.conv(x)).flatten(1)),
        {"conv": conv(), "bent": nn.LeakyReLU(), "fc": fc()},
    ),
    "ReLU at the end": (lambda n, x: F.relu(plain(n, x)), {"conv": conv(), "fc": fc()}),
    "a sum": (lambda n, x: plain(n, x) + 1, {"conv": conv(), "fc": fc()}),
    "a shortcut": (lambda n, x: n.fc((n.conv(x) + n.conv(x)).flatten(1)), {"conv": conv(), "fc": fc()}),
    "another dimension": (lambda n, x: n.fc(n.conv(x).flatten(2)), {"conv": conv(), "fc": fc()}),
    "no flattening": (lambda n, x: n.fc(n.conv(x)), {"conv": conv(), "fc": fc()}),
    "a convolution after it": (lambda n, x: n.conv(n.fc(x.flatten(1))), {"conv": conv(), "fc": fc()}),
    "no convolution": (lambda n, x: n.fc(x.flatten(1)), {"fc": fc()}),
    "no linear layer": (lambda n, x: n.conv(x).flatten(1), {"conv": conv()}),
    "a layer used twice": (lambda n, x: n.fc(n.fc(n.conv(x).flatten(1))), {"conv": conv(), "fc": fc()}),
    "a layer not used": (plain, {"conv": conv(), "fc": fc(), "spare": fc()}),
    "BatchNorm": (
        lambda n, x: n.fc(n.norm(n.conv(x)).flatten(1)),
        {"conv": conv(), "norm": nn.BatchNorm2d(2), "fc": fc()},
    ),
    "the middle as the result": (lambda n, x: (plain(n, x), n.conv(x))[1], {"conv": conv(), "fc": fc()}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_any_other_network_is_none(case: str) -> None:
    call, layers = REFUSED[case]
    assert read(call, **layers) is None


def test_frozen_weights_are_none() -> None:
    frozen = conv()
    frozen.weight.requires_grad_(False)
    assert read(plain, conv=frozen, fc=fc()) is None


@pytest.mark.parametrize("name", ["resnet8", "resnet18", "reconstruction"])
def test_the_other_classifiers_are_none(name: str) -> None:
    size = 32 if name.startswith("resnet") else 64
    assert read_network(build_classifier(name, 1, size, 10)) is None


def test_shared_weights_are_none() -> None:
    one = fc(18, 18)
    other = fc(18, 18)
    other.weight = one.weight
    whole = nn.Sequential(conv(), nn.MaxPool2d(2), Flatten(), one, other, fc())
    assert read_network(whole) is None
    other.weight = nn.Parameter(torch.ones(18, 18))
    assert read_network(whole) is not None


def test_numba_that_is_missing_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled.cache_clear()
    monkeypatch.setitem(sys.modules, "fedsec.training.compiled_chain", None)
    assert compiled() is None
    compiled.cache_clear()
    monkeypatch.undo()
    assert compiled() is not None
