"""Several networks of one architecture as a single one: each lane has its own weights and sees its own images.

A convolution over k lanes is one grouped convolution, a linear layer one batched product. Nothing mixes the lanes, so
each computes what it would compute alone, up to rounding. A small network alone leaves half of a core idle.

Lanes lie side by side in the channels of images, (N, k * C, H, W), and in front of features, (k, N, F). Every
parameter and buffer of the network has a leading dimension of k. A lane's batch may also be split into several that
lie side by side as lanes do, with the same weights.
"""

import copy
import operator
import threading
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import fx, nn
from torch.nn import functional as F

from fedsec.training.chain import Chain, compiled, read_chain

Form = Literal["images", "features"]
Tensors = dict[str, torch.Tensor]

TRACING = threading.Lock()
"""One network is traced at a time: two at once would put back each other's replacements."""

IMAGE_MODULES = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
"""They treat every channel alike, so that it does not matter to them whose it is."""

ELEMENTWISE_MODULES = (nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.Identity)
IMAGE_FUNCTIONS = (F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d)
ELEMENTWISE_FUNCTIONS = (F.relu, F.leaky_relu, torch.relu, torch.tanh, operator.add, operator.iadd, torch.add)


class UnsupportedLayerError(ValueError):
    """A network has something that is not known to keep its lanes apart."""


class GroupedModel:
    """A network whose weights are arguments, for any number of lanes.

    Args:
        model: the network that every lane has. Its own weights are never used.

    Attributes:
        names: the parameters and buffers of a lane, in the order of the state dict.
        parameters: those of them that are trained.
        dtypes: of each of them.
        chain: the layers, where there is nothing else to it and all of them are trained in float32.

    Raises:
        UnsupportedLayerError: one of its layers is not known here.
    """

    def __init__(self, model: nn.Module) -> None:
        self.dtypes = {name: tensor.dtype for name, tensor in model.state_dict().items()}
        self.names = tuple(self.dtypes)
        self.parameters = tuple(name for name, parameter in model.named_parameters() if parameter.requires_grad)
        self.has_batchnorm = any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
        conversion = _Conversion(model, self.names)
        self._forward = conversion.result()
        single = set(self.dtypes.values()) == {torch.float32}
        self.chain = read_chain(model, conversion.traced) if single else None

    def __call__(self, images: torch.Tensor, tensors: Tensors, split: int = 1) -> torch.Tensor:
        """Return logits (k, split * N, classes) in training mode; BatchNorm's statistics are updated in place.

        Args:
            images: (N, k * split * C, H, W) normalised; ``split`` neighbouring lanes have the same weights.
            tensors: each parameter and buffer by name, (k, ...).
            split: lanes of each set of weights; 1 for a network with BatchNorm, which needs its whole batch.
        """
        logits: torch.Tensor = self._forward(images, split, *(tensors[name] for name in self.names))
        return logits


def group_model(model: nn.Module) -> GroupedModel | None:
    """Return the model for many lanes, or ``None`` where it can only be trained one lane at a time."""
    try:
        return GroupedModel(model)
    except UnsupportedLayerError:
        return None


def chain_of(model: nn.Module, device: torch.device) -> Chain | None:
    """Return the layers of a model that compiled code trains and asks on a device, or ``None`` where torch does."""
    grouped = group_model(model) if device.type == "cpu" else None
    return None if grouped is None else chain_on(grouped, device)


def chain_on(grouped: GroupedModel, device: torch.device) -> Chain | None:
    """Return the same of a model that is grouped already."""
    return grouped.chain if device.type == "cpu" and grouped.chain is not None and compiled() else None


class _Tracer(fx.Tracer):
    """Records one network. While it does, torch replaces how every module of the process is called: others pass."""

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Record the call of a module of the network; do that of another, which another thread makes meanwhile."""
        if not any(m is own for own in self.root.modules()):
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)


def _traced(model: nn.Module) -> fx.GraphModule:
    with TRACING:
        return fx.GraphModule(model, _Tracer().trace(model))


class _Conversion:
    """Copies the graph of a network layer by layer, each replaced by its counterpart for many lanes."""

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        if any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
            raise UnsupportedLayerError(f"{type(model).__name__} has hooks")
        if len(list(model.parameters())) < len(list(model.named_parameters(remove_duplicate=False))):
            raise UnsupportedLayerError(f"{type(model).__name__} has layers that share their weights")
        try:
            self.traced = _traced(copy.deepcopy(model).train())  # it may do something else in evaluation
        except Exception as error:  # a network that decides on what it sees cannot be traced, and fails in any way
            raise UnsupportedLayerError(f"{type(model).__name__} cannot be traced ({error})") from error
        self.graph = fx.Graph()
        self.new: dict[fx.Node, fx.Node] = {}
        self.form: dict[fx.Node, Form] = {}
        inputs = [node for node in self.traced.graph.nodes if node.op == "placeholder"]
        if len(inputs) != 1:
            raise UnsupportedLayerError(f"{type(model).__name__} has {len(inputs)} inputs; expected its images")
        self._keep(inputs[0], self.graph.placeholder("images"), "images")
        self.split = self.graph.placeholder("split")
        # By number: names that differ in a dot alone would become the same argument.
        self.tensors = {name: self.graph.placeholder(f"tensor_{place}") for place, name in enumerate(names)}

    def result(self) -> fx.GraphModule:
        """Return the converted graph as a module of images, the number of lanes, and every tensor."""
        for node in self.traced.graph.nodes:
            if node.op == "call_module":
                self._module(node, self.traced.get_submodule(str(node.target)))
            elif node.op == "call_function":
                self._function(node, node.target)
            elif node.op == "call_method":
                self._method(node, str(node.target))
            elif node.op == "output":
                if self.form.get(node.args[0]) != "features":
                    raise UnsupportedLayerError("the network does not end with features")
                self.graph.output(self.new[node.args[0]])
            elif node.op != "placeholder":
                raise UnsupportedLayerError(f"'{node.target}' is used outside a layer")
        return fx.GraphModule(self.traced, self.graph)

    def _module(self, node: fx.Node, module: nn.Module) -> None:
        source = node.all_input_nodes[0]
        own = {name: self.tensors[f"{node.target}.{name}"] for name in module.state_dict()}
        if type(module) is nn.Conv2d and module.padding_mode == "zeros":
            options = (module.stride, module.padding, module.dilation, module.groups)
            self._call(node, _convolve, source, "images", self.split, own["weight"], own.get("bias"), *options)
        elif type(module) is nn.BatchNorm2d and module.track_running_stats and module.momentum is not None:
            affine = (own.get("weight"), own.get("bias"))
            statistics = (own["running_mean"], own["running_var"], own["num_batches_tracked"])
            self._call(node, _normalise, source, "images", *affine, *statistics, module.momentum, module.eps)
        elif type(module) is nn.Linear:
            self._call(node, _multiply, source, "features", own["weight"], own.get("bias"))
        elif type(module) in IMAGE_MODULES or type(module) in ELEMENTWISE_MODULES:
            form = self._expect(source, "images") if type(module) in IMAGE_MODULES else self.form[source]
            self._keep(node, self.graph.call_module(str(node.target), (self.new[source],)), form)
        else:
            raise UnsupportedLayerError(f"'{node.target}' is a {type(module).__name__}")

    def _function(self, node: fx.Node, target: Any) -> None:
        if target is torch.flatten and _starts_at_one(node):
            self._call(
                node,
                _flatten,
                node.args[0],
                "images",
                next(iter(self.tensors.values())),
                self.split,
                becomes="features",
            )
            return
        if target not in IMAGE_FUNCTIONS + ELEMENTWISE_FUNCTIONS:
            raise UnsupportedLayerError(f"'{node.name}' calls {getattr(target, '__name__', target)}")
        forms = {self.form[source] for source in node.all_input_nodes}
        if len(forms) != 1 or (target in IMAGE_FUNCTIONS and forms != {"images"}):
            raise UnsupportedLayerError(f"'{node.name}' is given {sorted(forms)}")
        self._keep(node, self.graph.node_copy(node, self.new.__getitem__), forms.pop())

    def _method(self, node: fx.Node, name: str) -> None:
        if name != "flatten" or not _starts_at_one(node):
            raise UnsupportedLayerError(f"'{node.name}' calls the method {name}")
        self._call(
            node, _flatten, node.args[0], "images", next(iter(self.tensors.values())), self.split, becomes="features"
        )

    def _call(
        self,
        node: fx.Node,
        function: Callable[..., Any],
        source: Any,
        form: Form,
        *rest: Any,
        becomes: Form | None = None,
    ) -> None:
        self._expect(source, form)
        self._keep(node, self.graph.call_function(function, (self.new[source], *rest)), becomes or form)

    def _expect(self, source: Any, form: Form) -> Form:
        if self.form.get(source) != form:
            raise UnsupportedLayerError(f"'{source}' is not {form}")
        return form

    def _keep(self, node: fx.Node, new: fx.Node, form: Form) -> None:
        self.new[node], self.form[node] = new, form


def _starts_at_one(node: fx.Node) -> bool:
    return node.args[1:] == (1,) and not node.kwargs


def _convolve(
    images: torch.Tensor,
    split: int,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> torch.Tensor:
    lanes = len(weight) * split
    if split > 1:
        weight = weight.repeat_interleave(split, 0)
        bias = None if bias is None else bias.repeat_interleave(split, 0)
    flat = None if bias is None else bias.flatten(0, 1)
    return F.conv2d(images, weight.flatten(0, 1), flat, stride, padding, dilation, groups * lanes)


def _multiply(features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    if bias is None:
        return torch.bmm(features, weight.transpose(1, 2))
    return torch.baddbmm(bias.unsqueeze(1), features, weight.transpose(1, 2))


def _normalise(
    images: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    mean: torch.Tensor,
    variance: torch.Tensor,
    tracked: torch.Tensor,
    momentum: float,
    eps: float,
) -> torch.Tensor:
    tracked.add_(1)
    scale, shift = (None if tensor is None else tensor.flatten(0, 1) for tensor in (weight, bias))
    return F.batch_norm(images, mean.view(-1), variance.view(-1), scale, shift, True, momentum, eps)


def _flatten(images: torch.Tensor, anything: torch.Tensor, split: int) -> torch.Tensor:
    lanes = len(anything) * split
    return images.reshape(len(images), lanes, -1).transpose(0, 1).reshape(len(anything), split * len(images), -1)
