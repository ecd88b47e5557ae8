"""The classifiers by name."""

from collections.abc import Callable

from torch import nn

from fedsec.models.drawing import drawn_from
from fedsec.models.lenet import LeNet5
from fedsec.models.reconstruction import ReconstructionClassifier


def _resnet18(channels: int, size: int, num_classes: int) -> nn.Module:
    from fedsec.models.resnet import ResNet18  # here: torchvision takes seconds to import, and LeNet-5 needs none

    return ResNet18(channels, size, num_classes)


def _resnet8(channels: int, size: int, num_classes: int) -> nn.Module:
    from fedsec.models.resnet import ResNet8

    return ResNet8(channels, size, num_classes)


CLASSIFIERS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "lenet5": LeNet5,
    "resnet18": _resnet18,
    "resnet8": _resnet8,
    "reconstruction": ReconstructionClassifier,
}
"""A function of channels, image size and number of classes for every classifier."""


def build_classifier(name: str, channels: int, size: int, num_classes: int, *, seed: int | None = None) -> nn.Module:
    """Return the classifier ``name``; with a ``seed`` its initial weights are drawn from that seed alone."""
    with drawn_from(seed):
        return CLASSIFIERS[name](channels, size, num_classes)
