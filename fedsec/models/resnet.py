"""Residual networks for small images.  He et al., *Deep Residual Learning for Image Recognition*, CVPR 2016."""

import torch
from torch import nn
from torchvision.models import resnet18
from torchvision.models.resnet import BasicBlock

SMALLEST = 16
"""Side in pixels of the smallest image: below, BatchNorm cannot train on a batch of one."""


def ResNet18(channels: int = 3, size: int = 32, num_classes: int = 10) -> nn.Module:  # noqa: N802 (a model's name)
    """Return torchvision's ResNet-18, changed for images of about 32 x 32; 11,173,962 parameters for CIFAR-10.

    The first convolution is 3 x 3 with stride 1 and the first pooling is left out, as is usual for CIFAR-10; the
    thesis on GAN balancing (3.2.2, 5.1.2) says "modified to suit CIFAR-10" and no more.

    Args:
        channels: channels of an image.
        size: height and width of an image in pixels, at least 16.
        num_classes: number of outputs.
    """
    _check(size, "ResNet-18")
    model: nn.Module = resnet18(num_classes=num_classes)
    model.conv1 = nn.Conv2d(channels, 64, kernel_size=3, stride=1, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


class ResNet8(nn.Module):
    """The residual network of section 4.2 with n = 1, 6n + 2 layers; 78,042 parameters for CIFAR-10.

    A ResNet for machines without a GPU: an image takes 1/45 of ResNet-18's time.

    Deviation: shortcuts between stages are projections (option B), where the paper's CIFAR networks pad with zeros.

    Args:
        channels: channels of an image.
        size: height and width of an image in pixels, at least 16.
        num_classes: number of outputs.
    """

    def __init__(self, channels: int = 3, size: int = 32, num_classes: int = 10) -> None:
        super().__init__()
        _check(size, "ResNet-8")
        self.conv1 = nn.Conv2d(channels, 16, kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = BasicBlock(16, 16)
        self.layer2 = BasicBlock(16, 32, 2, _projection(16, 32))
        self.layer3 = BasicBlock(32, 64, 2, _projection(32, 64))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (N, num_classes) for normalised ``images`` (N, channels, size, size)."""
        x = self.relu(self.bn1(self.conv1(images)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: torch.Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits


def _projection(narrow: int, wide: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(narrow, wide, kernel_size=1, stride=2, bias=False), nn.BatchNorm2d(wide))


def _check(size: int, name: str) -> None:
    if size < SMALLEST:
        raise ValueError(f"{name} needs images of at least {SMALLEST} x {SMALLEST} pixels; got {size} x {size}.")
