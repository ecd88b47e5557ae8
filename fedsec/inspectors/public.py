"""What a server that looks into models must have: the network, and labelled images that belong to nobody."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedsec.defenses.gancrop.trigger import RecoveredTrigger, as_bytes
from fedsec.training.batches import Normalisation
from fedsec.training.chain import Chain
from fedsec.training.evaluation import compiled_logits
from fedsec.training.grouped import chain_of
from fedsec.training.parameters import get_arrays, set_arrays

Arrays = Mapping[str, NDArray[np.generic]]


MIXED = 200
"""So many images, the first ones, are to show every class: parts of the images are taken from their beginning."""


class PublicDataError(ValueError):
    """Public data that no inspector can work with."""


class PixelNetwork(nn.Module):
    """A network of normalised images as one of images in [0, 1].

    Args:
        network: what takes normalised images.
        normalise: mean and deviation of each channel, in units of the full range.
    """

    def __init__(self, network: nn.Module, normalise: Normalisation) -> None:
        super().__init__()
        self.network = network
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.register_buffer("mean", torch.tensor(normalise.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(normalise.std).view(1, -1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (N, classes) of images (N, C, H, W) in [0, 1]."""
        logits: torch.Tensor = self.network((images - self.mean) / self.std)
        return logits


@dataclass(frozen=True, slots=True)
class PublicData:
    """The server's own network and public images.

    Attributes:
        network: the classifier that clients exchange; its weights do not matter.
        images: (N, C, H, W) uint8. Such as are sorted by class are put in another order, of each class one in turn.
        labels: (N,) their classes.
        num_classes: number of classes.
        normalise: turns bytes into what the network takes.
        device: where to compute.
        chain: the network's layers where it is trained and asked by compiled code, which takes images as bytes.
    """

    network: nn.Module
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    num_classes: int
    normalise: Normalisation
    device: torch.device
    chain: Chain | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Check that every class has an image, and mix the classes where they are not.

        Raises:
            PublicDataError: one has none.
        """
        counts = np.bincount(self.labels, minlength=self.num_classes)
        if not counts.all() or len(counts) > self.num_classes or len(self.labels) != len(self.images):
            raise PublicDataError(
                f"public data: {len(self.images)} images with {int((counts > 0).sum())} of {self.num_classes} classes; "
                f"expected at least one image of every class, and its label"
            )
        if len(np.unique(self.labels[:MIXED])) < self.num_classes:
            order = _in_turn(self.labels)
            object.__setattr__(self, "images", np.asarray(self.images[order]))
            object.__setattr__(self, "labels", np.asarray(self.labels[order]))
        object.__setattr__(self, "chain", chain_of(self.network, self.device))

    def load(self, arrays: Arrays) -> PixelNetwork:
        """Return a network of its own with these arrays, on the device."""
        network = copy.deepcopy(self.network).to(self.device)
        set_arrays(network, [arrays[name] for name in network.state_dict()])
        return PixelNetwork(network, self.normalise).to(self.device)

    def fixed(self, arrays: Arrays) -> nn.Module:
        """Return a network of images in [0, 1] with these arrays that is not to be trained, but by its images: on the
        device, by compiled code where it can be.
        """
        if self.chain is None:
            return self.load(arrays).eval().requires_grad_(False)
        from fedsec.training.compiled_network import CompiledNetwork  # here: it takes seconds to import

        return CompiledNetwork(self.chain, arrays, self.normalise)

    def arrays_of(self, network: PixelNetwork) -> dict[str, NDArray[np.generic]]:
        """Return the arrays of a network that :meth:`load` made."""
        return get_arrays(network.network)

    @torch.no_grad()
    def logits_of(self, arrays: Arrays, images: NDArray[np.uint8]) -> torch.Tensor:
        """Return what a network with these arrays makes of images (N, C, H, W), N > 0: (N, K), on the CPU."""
        if self.chain is not None:
            return compiled_logits(self.chain, arrays, images, self.normalise)
        network = self.load(arrays).eval()
        parts = torch.split(torch.from_numpy(np.array(images)).to(self.device), 500)
        return torch.cat([network(part.float().div_(255)) for part in parts]).cpu()

    def classes_of(self, arrays: Arrays, images: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return what a network with these arrays takes images (N, C, H, W) for, (N,)."""
        if not len(images):
            return np.empty(0, np.int64)
        classes: NDArray[np.int64] = self.logits_of(arrays, images).argmax(1).numpy()
        return classes

    def accuracy_of(self, arrays: Arrays, most: int) -> float:
        """Return the percent of the first ``most`` images that a network with these arrays classifies right."""
        return 100.0 * float((self.classes_of(arrays, self.images[:most]) == self.labels[:most]).mean())

    def success_of(self, arrays: Arrays, trigger: RecoveredTrigger, most: int) -> float:
        """Return the percent of the first ``most`` images, those of the target aside, that a trigger turns, or NaN."""
        images, labels = self.images[:most], self.labels[:most]
        taken = self.classes_of(arrays, as_bytes(images[labels != trigger.target], trigger)) == trigger.target
        return 100.0 * float(taken.mean()) if len(taken) else float("nan")

    def pixels(self, most: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the images as float32 in [0, 1] and their labels, on the device: all, or the first ``most``."""
        images = torch.from_numpy(np.array(self.images[:most])).to(self.device).float().div_(255)
        return images, torch.from_numpy(np.array(self.labels[:most])).to(self.device)


def _in_turn(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return an order in which each class comes in turn, for as long as it has images."""
    ranks = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        ranks[of_class] = np.arange(len(of_class))
    return np.lexsort((labels, ranks))
