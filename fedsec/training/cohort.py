"""Local training of several clients at once, as one grouped model.

Each client takes the steps that it would take alone, with its own batches in its own order. Clients that have
different numbers of examples are at different places of their epochs: those whose next batches are of one size
take a step together, and a client that is done drops out of the model.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from fedsec.training.batches import Normalisation, epoch_order, values_of_bytes
from fedsec.training.chain import Chain
from fedsec.training.classifier import TrainingSettings
from fedsec.training.grouped import GroupedModel, Tensors, chain_on

SPLIT = 2
"""On a CPU a batch goes through the convolutions as so many half batches side by side: a grouped convolution takes
much less time than a plain one with few channels, and with two groups and more it gives the same bits for any number of
groups, so that a client's result does not depend on who is trained beside it. BatchNorm needs the whole batch."""


@dataclass(frozen=True, slots=True)
class Member:
    """One client of a cohort.

    Attributes:
        start: the arrays to start from, in the order of the model's state dict.
        images: (N, C, H, W) uint8, N >= 1.
        labels: (N,) int64.
        generator: CPU generator of the order of the examples.
        most: how many of its examples an epoch takes at most, drawn anew in each; 0 takes all.
        note: what its client has to say beside numbers.
    """

    start: Sequence[NDArray[np.generic]]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    generator: torch.Generator
    most: int = 0
    note: str = ""

    @property
    def epoch(self) -> int:
        """How many examples an epoch takes."""
        return min(len(self.labels), self.most or len(self.labels))


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of one client: its arrays, in the order of the state dict, and the mean loss of its last epoch."""

    arrays: list[NDArray[np.generic]]
    loss: float


def train_cohort(
    model: GroupedModel,
    members: Sequence[Member],
    normalise: Normalisation,
    settings: TrainingSettings,
    device: torch.device,
) -> list[Trained]:
    """Train every member as :func:`~fedsec.training.classifier.train_classifier` would by SGD, up to rounding.

    On a CPU a member's result has the same bits whoever the other members are.

    Raises:
        ValueError: a member has no examples, or the settings name another optimiser.
    """
    if settings.optimiser != "sgd":
        raise ValueError(f"a cohort is trained by 'sgd', got '{settings.optimiser}'")
    if not all(len(member.labels) for member in members):
        raise ValueError("every member of a cohort must have examples to train on")
    if chain := chain_on(model, device):
        return [_train_compiled(model, chain, member, normalise, settings) for member in members]
    order = sorted(range(len(members)), key=lambda index: -members[index].epoch)
    cohort = _Cohort(model, [members[index] for index in order], normalise, settings, device)
    trained = dict(zip(order, cohort.train(), strict=True))
    return [trained[index] for index in range(len(members))]


def splits_batches(model: GroupedModel, device: torch.device) -> bool:
    """Tell whether batches are split (:data:`SPLIT`), which is worth it for a single client too."""
    return device.type == "cpu" and not model.has_batchnorm


def _train_compiled(
    model: GroupedModel, chain: Chain, member: Member, normalise: Normalisation, settings: TrainingSettings
) -> Trained:
    """Train one member by compiled code."""
    from fedsec.training.compiled_chain import CompiledChain

    start, values = dict(zip(model.names, member.start, strict=True)), values_of_bytes(normalise)
    pace = settings.batch_size, settings.learning_rate, settings.momentum
    network = CompiledChain(chain, start, member.images, member.labels, values, *pace)
    batches, total = _batches(member, settings, torch.device("cpu")), 0.0
    for number, batch in enumerate(batches):
        if number % (len(batches) // settings.epochs) == 0:
            total = 0.0
        total += network.step(batch.numpy())
    weights = network.weights()
    return Trained([weights[name] for name in model.names], total / member.epoch)


class _Cohort:
    """The members' weights as one stack of lanes, and where each of them is in its epochs; longest first."""

    def __init__(
        self,
        model: GroupedModel,
        members: Sequence[Member],
        normalise: Normalisation,
        settings: TrainingSettings,
        device: torch.device,
    ) -> None:
        self.model, self.normalise, self.settings = model, normalise, settings
        held = [len(member.labels) for member in members]
        self.images = torch.from_numpy(np.concatenate([member.images for member in members])).to(device)
        self.labels = torch.from_numpy(np.concatenate([member.labels for member in members])).to(device)
        starts = np.cumsum([0, *held[:-1]]).tolist()
        self.batches = [
            [batch + start for batch in _batches(member, settings, device)]
            for member, start in zip(members, starts, strict=True)
        ]
        self.done = [0] * len(members)
        self.tensors = {
            name: _stacked([torch.tensor(member.start[place], dtype=model.dtypes[name]) for member in members]).to(
                device
            )
            for place, name in enumerate(model.names)
        }
        self.moments = {name: torch.zeros_like(self.tensors[name]) for name in model.parameters}
        self.totals = torch.zeros(len(members), device=device)
        self.split = SPLIT if splits_batches(model, device) else 1
        self.counts = [member.epoch for member in members]

    def train(self) -> list[Trained]:
        """Take every step of every member; return what came of each."""
        while waiting := [member for member, batches in enumerate(self.batches) if self.done[member] < len(batches)]:
            sizes = {member: len(self.batches[member][self.done[member]]) for member in waiting}
            # Ends of epochs first: they are the odd sizes, and behind them all members meet in full batches again.
            ends = [member for member in waiting if sizes[member] < self.settings.batch_size]
            for lanes in _adjacent(ends or waiting, sizes):
                self._step(lanes)
        losses = self.totals.tolist()
        tensors = [tensor.cpu().numpy() for tensor in self.tensors.values()]
        return [
            Trained([tensor[lane, ...] for tensor in tensors], losses[lane] / count)
            for lane, count in enumerate(self.counts)
        ]

    def _step(self, members: slice) -> None:
        for member in range(members.start, members.stop):
            if self.done[member] % (len(self.batches[member]) // self.settings.epochs) == 0:
                self.totals[member] = 0.0
        chosen = torch.stack([self.batches[m][self.done[m]] for m in range(members.start, members.stop)])
        losses, gradients = self._gradients(chosen, {n: tensor[members] for n, tensor in self.tensors.items()})
        self._descend(members, gradients)
        self.totals[members] += losses * chosen.shape[1]
        for member in range(members.start, members.stop):
            self.done[member] += 1

    def _gradients(self, chosen: torch.Tensor, tensors: Tensors) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the losses (k,) and gradients of k members for their examples ``chosen`` (k, B)."""
        (members, size), split = chosen.shape, self.split
        if size % split:  # an odd batch gets an example more, whose loss does not count
            chosen = torch.cat([chosen, chosen[:, : split - size % split]], dim=1)
        trained = [tensors[name].detach().requires_grad_() for name in self.model.parameters]
        tensors = tensors | dict(zip(self.model.parameters, trained, strict=True))
        lanes = chosen.view(members * split, -1)
        images = self.normalise(self.images[lanes.t().reshape(-1)])
        images = images.reshape(lanes.shape[1], len(lanes) * images.shape[1], *images.shape[2:])
        logits = self.model(images.contiguous(memory_format=torch.channels_last), tensors, split)[:, :size]
        wanted = self.labels[chosen[:, :size].reshape(-1)]
        losses = F.cross_entropy(logits.flatten(0, 1), wanted, reduction="none").view(members, size).mean(1)
        # A parameter that the network does not use stays as it is.
        gradients = torch.autograd.grad(losses.sum(), trained, allow_unused=True, materialize_grads=True)
        return losses.detach(), list(gradients)

    def _descend(self, lanes: slice, gradients: list[torch.Tensor]) -> None:
        """Take a step of SGD, with momentum as :class:`torch.optim.SGD` has it."""
        if self.settings.momentum:
            moments = [self.moments[name][lanes] for name in self.model.parameters]
            torch._foreach_mul_(moments, self.settings.momentum)
            torch._foreach_add_(moments, gradients)
            gradients = moments
        parameters = [self.tensors[name][lanes] for name in self.model.parameters]
        torch._foreach_add_(parameters, gradients, alpha=-self.settings.learning_rate)


def _batches(member: Member, settings: TrainingSettings, device: torch.device) -> list[torch.Tensor]:
    """Return which of its own examples a member takes in each step of all its epochs."""
    orders = [epoch_order(len(member.labels), member.most, member.generator) for _ in range(settings.epochs)]
    return [batch.to(device) for order in orders for batch in torch.split(order, settings.batch_size)]


def _stacked(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the tensors as one with a leading dimension; convolutions' weights in channels_last memory."""
    stack = torch.stack(list(tensors))
    if stack.ndim != 5:
        return stack
    flat = stack.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    return flat.view(stack.shape)


def _adjacent(members: Sequence[int], sizes: Mapping[int, int]) -> Iterator[slice]:
    """Yield the longest runs of neighbours among ``members`` (ascending) whose next batches are of one size."""
    first = 0
    for place in range(1, len(members) + 1):
        follows = place < len(members) and members[place] == members[place - 1] + 1
        if not follows or sizes[members[place]] != sizes[members[first]]:
            yield slice(members[first], members[place - 1] + 1)
            first = place
