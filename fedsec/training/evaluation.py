"""What the server measures of the global model: main-task accuracy, accuracy of each class, backdoor accuracy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from fedsec.attacks.triggers import Trigger
from fedsec.metrics.classification import (
    class_accuracies,
    main_task_accuracy,
    mean_backdoor_accuracy,
    of_source,
    untargeted_backdoor_accuracy,
)
from fedsec.training.batches import Normalisation, on_device, values_of_bytes
from fedsec.training.chain import Chain
from fedsec.training.grouped import chain_of
from fedsec.training.parameters import set_arrays

BATCH = 500

AT_ONCE = 64
"""The same where the network is compiled: what goes through it stays near the core."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured of one global model; accuracies in percent.

    Attributes:
        MA: main-task accuracy.
        BA: backdoor accuracy, or ``None`` when the test set has no image to put the trigger on.
        loss: mean cross-entropy on the clean test set.
        class_accuracy: accuracy of each class, ``None`` for one without images.
    """

    MA: float
    BA: float | None
    loss: float
    class_accuracy: list[float | None]


@torch.no_grad()
def predict(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, normalise: Normalisation
) -> tuple[NDArray[np.int64], float]:
    """Return the predicted classes (N,) of ``images`` (N, C, H, W) uint8, and the mean cross-entropy."""
    model.eval()
    predictions, total = [], 0.0
    for batch, wanted in zip(torch.split(images, BATCH), torch.split(labels, BATCH), strict=True):
        logits = model(normalise(batch))
        predictions.append(logits.argmax(1).cpu().numpy())
        total += float(F.cross_entropy(logits, wanted, reduction="sum"))
    return np.concatenate(predictions), total / len(labels)


def compiled_logits(
    chain: Chain, arrays: Mapping[str, NDArray[np.generic]], images: NDArray[np.uint8], normalise: Normalisation
) -> torch.Tensor:
    """Return what a network that can be compiled makes of ``images`` (N, C, H, W) uint8 with these arrays, (N, K)."""
    from fedsec.training.compiled_chain import CompiledChain

    unknown = np.zeros(len(images), np.int64)
    network = CompiledChain(chain, arrays, images, unknown, values_of_bytes(normalise), AT_ONCE, rate=0.0)
    batches = np.split(np.arange(len(images)), range(AT_ONCE, len(images), AT_ONCE))
    return torch.from_numpy(np.concatenate([network.logits(batch) for batch in batches]))


class Evaluator:
    """Measures global models on the test set, and on its triggered images.

    Args:
        model: the network; its weights are replaced in every call.
        images: (N, C, H, W) uint8 test images.
        labels: (N,) their classes.
        num_classes: number of classes.
        normalise: turns bytes into what the model takes.
        trigger: what the attacker stamps.
        pairs: class whose triggered images are measured (``None`` is every class but the next) and class that the
            attacker wants, of each attacker; ``None`` is every class, and any class but the image's own.
        device: where to compute.
    """

    def __init__(
        self,
        model: nn.Module,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        num_classes: int,
        normalise: Normalisation,
        trigger: Trigger,
        pairs: Sequence[tuple[int | None, int]] | None,
        device: torch.device,
    ) -> None:
        self.model = model.to(device).to(memory_format=torch.channels_last)
        self.labels = np.asarray(labels)
        self.num_classes = num_classes
        self.normalise = normalise
        self.pairs = pairs
        self.chain = chain_of(model, device)
        self.clean = on_device(images, labels, device)
        wanted = [np.ones(len(self.labels), bool)] if pairs is None else [of_source(self.labels, *p) for p in pairs]
        chosen = np.flatnonzero(np.any(wanted, axis=0))
        self.triggered = on_device(trigger.stamp(images[chosen]), self.labels[chosen], device)

    def __call__(self, arrays: Mapping[str, NDArray[np.generic]]) -> Evaluation:
        """Return the accuracies of the model with these arrays."""
        if self.chain is None:
            set_arrays(self.model, [arrays[name] for name in self.model.state_dict()])
        predicted, loss = self._predict(arrays, *self.clean)
        return Evaluation(
            main_task_accuracy(predicted, self.labels),
            self._backdoor_accuracy(arrays),
            loss,
            class_accuracies(predicted, self.labels, self.num_classes),
        )

    def _backdoor_accuracy(self, arrays: Mapping[str, NDArray[np.generic]]) -> float | None:
        images, labels = self.triggered
        if not len(labels):
            return None
        fooled, _ = self._predict(arrays, images, labels)
        own = labels.cpu().numpy()
        if self.pairs is None:
            return untargeted_backdoor_accuracy(fooled, own)
        return mean_backdoor_accuracy(fooled, own, self.pairs)

    def _predict(
        self, arrays: Mapping[str, NDArray[np.generic]], images: torch.Tensor, labels: torch.Tensor
    ) -> tuple[NDArray[np.int64], float]:
        if self.chain is None:
            return predict(self.model, images, labels, self.normalise)
        logits = compiled_logits(self.chain, arrays, images.numpy(), self.normalise)
        return logits.argmax(1).numpy(), float(F.cross_entropy(logits, labels))
