"""Lanes of a grouped model compute what each would alone; what could mix them is refused."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fedsec.models.classifiers import CLASSIFIERS, build_classifier
from fedsec.training.grouped import GroupedModel, UnsupportedLayerError, chain_of, group_model
from tests.training.conftest import Network

LANES, BATCH = 3, 4


def plus_itself(images: torch.Tensor) -> torch.Tensor:
    total = F.relu(images)
    total += images
    return total


LAYERS: dict[str, Callable[[], Any]] = {
    "convolution": lambda: nn.Conv2d(4, 4, 3),
    "convolution without bias": lambda: nn.Conv2d(4, 4, 3, bias=False),
    "strided convolution": lambda: nn.Conv2d(4, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
    "same padding": lambda: nn.Conv2d(4, 4, 3, padding="same"),
    "convolution in groups": lambda: nn.Conv2d(4, 4, 3, groups=2),
    "depthwise convolution": lambda: nn.Conv2d(4, 4, 3, groups=4),
    "batchnorm": lambda: nn.BatchNorm2d(4, momentum=0.3, eps=0.01),
    "batchnorm without weights": lambda: nn.BatchNorm2d(4, affine=False),
    "relu": nn.ReLU,
    "relu in place": lambda: nn.ReLU(inplace=True),
    "leaky relu": lambda: nn.LeakyReLU(0.2),
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
    "maximum": lambda: nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),
    "average": lambda: nn.AvgPool2d(2),
    "adaptive average": lambda: nn.AdaptiveAvgPool2d(3),
    "F.max_pool2d": lambda: lambda x: F.max_pool2d(x, 2, stride=1),
    "F.avg_pool2d": lambda: lambda x: F.avg_pool2d(x, kernel_size=2),
    "F.adaptive_avg_pool2d": lambda: lambda x: F.adaptive_avg_pool2d(x, (2, 3)),
    "F.relu": lambda: F.relu,
    "F.leaky_relu": lambda: lambda x: F.leaky_relu(x, 0.1),
    "torch.relu": lambda: torch.relu,
    "torch.tanh": lambda: torch.tanh,
    "sum": lambda: lambda x: x + F.relu(x),
    "sum in place": lambda: plus_itself,
    "torch.add": lambda: lambda x: torch.add(x, torch.tanh(x), alpha=0.5),
    "sum with a number": lambda: lambda x: x + 1.5,
}
"""Everything that may stand between two layers, for images of 4 channels."""


def network(layer: Any) -> Network:
    """Return a network with ``layer`` in its middle, a module or a function."""
    modules = {"layer": layer} if isinstance(layer, nn.Module) else {}

    def forward(net: Any, images: torch.Tensor) -> Any:
        x = net.first(images)
        x = net.layer(x) if modules else layer(x)
        return net.last(F.relu(net.hidden(torch.flatten(F.adaptive_avg_pool2d(x, 2), 1))))

    layers = {"first": nn.Conv2d(2, 4, 3), "hidden": nn.Linear(16, 5), "last": nn.Linear(5, 3, bias=False)}
    return Network(forward, **layers, **modules)


def lanes_of(make: Callable[[], nn.Module]) -> list[nn.Module]:
    """Return a network for every lane, each with weights of its own."""
    networks = []
    for seed in range(LANES):
        torch.manual_seed(seed)
        model = make().double().train()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn_like(parameter) / max(1, parameter[0].numel()) ** 0.5)
        networks.append(model)
    return networks


def stacked(networks: list[nn.Module]) -> dict[str, torch.Tensor]:
    states = [{name: tensor.clone() for name, tensor in model.state_dict().items()} for model in networks]
    return {name: torch.stack([state[name] for state in states]) for name in states[0]}


def side_by_side(lanes: torch.Tensor) -> torch.Tensor:
    """Return images (k, N, C, H, W) as (N, k * C, H, W)."""
    return lanes.transpose(0, 1).flatten(1, 2)


def assert_lanes_are_independent(make: Callable[[], nn.Module], images: torch.Tensor) -> None:
    networks = lanes_of(make)
    grouped = GroupedModel(networks[0])
    tensors = stacked(networks)
    logits = grouped(side_by_side(images), tensors)
    expected = torch.stack([model(lane.clone()) for model, lane in zip(networks, images, strict=True)])
    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)
    for name, tensor in stacked(networks).items():  # BatchNorm's statistics among them
        torch.testing.assert_close(tensors[name], tensor, rtol=1e-9, atol=1e-9)
    if not grouped.has_batchnorm:
        halves = images.view(LANES, 2, BATCH // 2, *images.shape[2:]).flatten(0, 1)
        torch.testing.assert_close(grouped(side_by_side(halves), tensors, 2), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", LAYERS)
def test_each_lane_computes_what_its_network_computes_alone(name: str) -> None:
    images = torch.randn(LANES, BATCH, 2, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert_lanes_are_independent(lambda: network(LAYERS[name]()), images)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_classifier_can_be_grouped(name: str) -> None:
    images = torch.randn(LANES, BATCH, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert_lanes_are_independent(lambda: build_classifier(name, 3, 16, 4), images)


def test_names_follow_the_state_dict_and_parameters_are_those_that_are_trained() -> None:
    model = network(nn.BatchNorm2d(4))
    model.get_submodule("hidden").weight.requires_grad = False
    grouped = GroupedModel(model)
    assert grouped.names == tuple(model.state_dict())
    assert set(grouped.names) - set(grouped.parameters) == {
        "hidden.weight",
        "layer.running_mean",
        "layer.running_var",
        "layer.num_batches_tracked",
    }
    assert grouped.has_batchnorm
    assert {str(dtype) for dtype in grouped.dtypes.values()} == {"torch.float32", "torch.int64"}
    assert not GroupedModel(network(nn.Identity())).has_batchnorm


def test_names_that_differ_in_a_dot_are_kept_apart() -> None:
    def make() -> nn.Module:
        inner = nn.Sequential()
        inner.add_module("b_c", nn.Conv2d(2, 2, 3))
        other = nn.Sequential()
        other.add_module("c", nn.Conv2d(2, 2, 3))
        layers = {"a": inner, "a_b": other, "images": nn.Identity(), "split": nn.Linear(128, 3)}
        return Network(lambda net, x: net.split(net.images(net.a_b(net.a(x))).flatten(1)), **layers)

    images = torch.randn(LANES, BATCH, 2, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert_lanes_are_independent(make, images)


def test_a_layer_that_is_used_twice_is_used_twice() -> None:
    images = torch.randn(LANES, BATCH, 4, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def make() -> nn.Module:
        norm = nn.BatchNorm2d(4)
        return Network(lambda net, x: net.f(net.norm(net.norm(x)).flatten(1)), norm=norm, f=nn.Linear(576, 3))

    assert_lanes_are_independent(make, images)


def test_it_is_the_network_in_training_even_where_it_was_evaluated_before() -> None:
    model = Network(lambda net, x: net.f((x + 1 if net.training else x).flatten(1)), f=nn.Linear(4, 3)).eval()
    grouped = GroupedModel(model)
    assert not model.training
    images = torch.ones(1, 1, 2, 2)
    torch.testing.assert_close(grouped(images, stacked([model]))[0], model.train()(images))


def test_its_own_weights_are_not_changed() -> None:
    model = network(nn.BatchNorm2d(4))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    GroupedModel(model)(torch.randn(4, 6, 12, 12), stacked([model] * 3))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_error_names_the_layer() -> None:
    with pytest.raises(UnsupportedLayerError, match="'layer' is a Dropout"):
        GroupedModel(network(nn.Dropout()))
    assert group_model(network(nn.Dropout())) is None


def test_networks_can_be_used_while_another_thread_groups_one() -> None:
    images, failed, before = torch.zeros(2, 1, 28, 28), [], nn.Module.__call__

    def use() -> None:
        network = build_classifier("lenet5", 1, 28, 10)
        try:
            for _ in range(300):
                network(images)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=use) for _ in range(2)]
    threads += [
        threading.Thread(target=lambda: [group_model(build_classifier("lenet5", 1, 28, 10)) for _ in range(20)])
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert nn.Module.__call__ is before


def test_what_compiled_code_trains_is_told_by_network_and_device() -> None:
    cpu = torch.device("cpu")
    assert chain_of(build_classifier("lenet5", 1, 28, 10), cpu) is not None
    assert chain_of(build_classifier("resnet8", 3, 32, 10), cpu) is None
    assert chain_of(build_classifier("lenet5", 1, 28, 10), torch.device("cuda")) is None
    assert chain_of(build_classifier("lenet5", 1, 28, 10).double(), cpu) is None
