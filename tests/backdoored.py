"""LeNets with and without a backdoor, trained in a second or two on the digits of scikit-learn."""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from fedsec.attacks.triggers import Trigger, make_trigger
from fedsec.data.datasets import load
from fedsec.inspectors.public import PixelNetwork, PublicData
from fedsec.models.drawing import drawn_from
from fedsec.models.lenet import LeNet5
from fedsec.training.batches import Normalisation

SIZE = 28
TARGET = 6
NORMALISE = Normalisation((0.3,), (0.35,))
TRIGGER: Trigger = make_trigger("patch", (1, SIZE, SIZE), size=4)

OTHER_TARGET = 2
OTHER_TRIGGER: Trigger = make_trigger("patch", (1, SIZE, SIZE), size=4, corner="top-left")
TRIGGERS = {TARGET: TRIGGER, OTHER_TARGET: OTHER_TRIGGER}


@lru_cache
def digits(split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the images (N, 1, 28, 28) uint8 and their labels."""
    data = load("digits", split)  # type: ignore[arg-type]
    return np.array(data.images), np.array(data.labels)


def public() -> PublicData:
    """Return a server's own images: 500 that a model was trained on, which no test here minds."""
    images, labels = digits("train")
    return PublicData(network(), images[:500], labels[:500], 10, NORMALISE, torch.device("cpu"))


def network() -> LeNet5:
    """Return an untrained LeNet, always the same."""
    with drawn_from(0):
        return LeNet5()


def trained(backdoor: bool) -> PixelNetwork:
    """Return a new copy of a trained model, with a backdoor from every class to :data:`TARGET` or without."""
    made = PixelNetwork(network(), NORMALISE)
    made.load_state_dict(_trained(TARGET if backdoor else None))
    return made.eval()


def trained_otherwise() -> PixelNetwork:
    """Return the same with another backdoor, :data:`OTHER_TRIGGER` to :data:`OTHER_TARGET`."""
    made = PixelNetwork(network(), NORMALISE)
    made.load_state_dict(_trained(OTHER_TARGET))
    return made.eval()


def measured(model: PixelNetwork) -> tuple[float, float]:
    """Return MA and BA in percent."""
    images, labels = digits("test")
    others = labels != TARGET
    with torch.no_grad():
        clean = model(floats(images)).argmax(1).numpy() == labels
        stamped = model(floats(TRIGGER.stamp(images[others]))).argmax(1).numpy() == TARGET
    return 100 * float(clean.mean()), 100 * float(stamped.mean())


def floats(images: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(images).float() / 255


@lru_cache
def _trained(target: int | None) -> dict[str, torch.Tensor]:
    images, labels = digits("train")
    if target is not None:
        trigger = TRIGGERS[target]
        chosen = np.flatnonzero(labels != target)[::5]
        images = np.concatenate([images, trigger.stamp(images[chosen])])
        labels = np.concatenate([labels, np.full(len(chosen), target)])
    model, order = PixelNetwork(network(), NORMALISE), torch.Generator().manual_seed(0)
    optimiser = torch.optim.SGD(model.parameters(), 0.1, momentum=0.5)
    for _ in range(6):
        for batch in torch.randperm(len(labels), generator=order).split(32):
            optimiser.zero_grad()
            F.cross_entropy(model(floats(images[batch])), torch.from_numpy(labels[batch])).backward()
            optimiser.step()
    return model.state_dict()
