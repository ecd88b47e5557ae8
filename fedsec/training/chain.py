"""Small image networks that are a chain: convolutions, each with or without pooling and ReLU, then linear layers."""

import importlib
from dataclasses import dataclass, replace
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution with a bias, of stride 1, and what follows it.

    Attributes:
        name: of the layer in the network.
        channels: C, of what it takes.
        outputs: O, channels of what it makes.
        size: K, height and width of its kernel.
        padding: width of the border of zeros around what it takes, at most K - 1.
        pool: whether the largest of each 2 x 2 is taken.
        rectify: whether ReLU follows.
    """

    name: str
    channels: int
    outputs: int
    size: int
    padding: int
    pool: bool = False
    rectify: bool = False


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear layer with a bias, and whether ReLU follows."""

    name: str
    inputs: int
    outputs: int
    rectify: bool = False


@dataclass(frozen=True, slots=True)
class Chain:
    """The layers of a network in their order, at least one of each kind; no ReLU after the last."""

    convolutions: tuple[Convolution, ...]
    linears: tuple[Linear, ...]


@cache
def compiled() -> ModuleType | None:
    """Return :mod:`.compiled_chain`, or ``None`` where there is no numba, or no processor for it."""
    try:
        return importlib.import_module("fedsec.training.compiled_chain")
    except ImportError:
        return None


def read_chain(model: nn.Module, traced: fx.GraphModule) -> Chain | None:
    """Return the layers of a network, or ``None`` where it is no such chain or not all of it is trained.

    Args:
        model: the network.
        traced: what it does.
    """
    convolutions: list[Convolution] = []
    linears: list[Linear] = []
    flat, last = False, None
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            if last is not None:
                return None
        elif node.op == "output":
            if node.args[0] is not last:
                return None
            continue
        elif node.all_input_nodes != [last]:
            return None
        elif _flattens(node):
            flat = True
        elif (layer := _layer(traced, node)) is not None:
            if isinstance(layer, Linear) != flat:
                return None
            (linears if isinstance(layer, Linear) else convolutions).append(layer)  # type: ignore[arg-type]
        elif not _followed(traced, node, linears if flat else convolutions):
            return None
        last = node
    chain = Chain(tuple(convolutions), tuple(linears))
    layers = [layer.name for layer in convolutions] + [layer.name for layer in linears]
    read = sorted(f"{name}.{kind}" for name in layers for kind in ("weight", "bias"))
    trained = sorted(name for name, parameter in model.named_parameters() if parameter.requires_grad)
    whole = read == trained == sorted(model.state_dict())  # not so with shared, frozen, unused and other weights
    return chain if convolutions and linears and not linears[-1].rectify and whole else None


def _layer(traced: fx.GraphModule, node: fx.Node) -> Convolution | Linear | None:
    if node.op != "call_module":
        return None
    module, name = traced.get_submodule(str(node.target)), str(node.target)
    if type(module) is nn.Linear and module.bias is not None:
        return Linear(name, module.in_features, module.out_features)
    if type(module) is not nn.Conv2d or module.bias is None or module.padding_mode != "zeros":
        return None
    size, padding = module.kernel_size[0], module.padding[0]
    usual = (module.stride, module.dilation, module.groups) == ((1, 1), (1, 1), 1)
    square = module.kernel_size == (size, size) and module.padding == (padding, padding)
    if not usual or not square or not isinstance(padding, int) or padding >= size:
        return None
    return Convolution(name, module.in_channels, module.out_channels, size, padding)


def _followed(traced: fx.GraphModule, node: fx.Node, layers: list[Any]) -> bool:
    """Note with the last layer what follows it; tell whether that is known."""
    if not layers:
        return False
    if _rectifies(traced, node):
        layers[-1] = replace(layers[-1], rectify=True)
        return True
    if _pools(traced, node) and isinstance(layers[-1], Convolution) and not layers[-1].pool:
        layers[-1] = replace(layers[-1], pool=True)
        return True
    return False


def _module(traced: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return traced.get_submodule(str(node.target)) if node.op == "call_module" else None


def _flattens(node: fx.Node) -> bool:
    called = node.op == "call_method" and node.target == "flatten"
    return (called or node.target is torch.flatten) and node.args[1:] == (1,) and not node.kwargs


def _rectifies(traced: fx.GraphModule, node: fx.Node) -> bool:
    return type(_module(traced, node)) is nn.ReLU or node.target in (F.relu, torch.relu)


def _pools(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Tell whether the largest of each 2 x 2 is taken."""
    module = _module(traced, node)
    if type(module) is nn.MaxPool2d:
        settings = {name: getattr(module, name) for name in ("kernel_size", "stride", *_USUAL)}
    elif node.target is F.max_pool2d:
        names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
        settings = {"stride": None} | _USUAL | dict(zip(names, node.args[1:], strict=False)) | node.kwargs
        settings["stride"] = settings["stride"] or settings.get("kernel_size")
        settings.pop("input", None)
    else:
        return False
    return settings == {"kernel_size": 2, "stride": 2} | _USUAL


_USUAL = {"padding": 0, "dilation": 1, "ceil_mode": False, "return_indices": False}
