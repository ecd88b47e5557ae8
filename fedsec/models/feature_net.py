"""The network whose activations are compared when generated images are scored without Inception."""

import torch
from torch import nn
from torch.nn import functional as F

FEATURES = 128
"""Features of an image: the channels of the last convolution, each averaged over the image."""

LARGEST = 48
"""A side in pixels up to which images go through at full size; larger ones are halved until they fit."""


class FeatureNet(nn.Module):
    """Convolutions with BatchNorm, an average over the image, and one linear layer.

    Args:
        shape: (channels, height, width) of an image; at least 8 x 8 pixels.
        num_classes: number of outputs.
    """

    def __init__(self, shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        if min(height, width) < 8:
            raise ValueError(f"the feature network needs images of at least 8 x 8 pixels; got {height} x {width}.")
        self.shape = (channels, height, width)
        layers: list[nn.Module] = []
        side = max(height, width)
        while side > LARGEST:
            layers += _convolution(channels, 16, stride=2)
            channels, side = 16, (side + 1) // 2
        for kept in (32, 64, FEATURES):
            layers += [*_convolution(channels, kept), nn.MaxPool2d(2)]
            channels = kept
        self.layers = nn.Sequential(*layers)
        self.classify = nn.Linear(FEATURES, num_classes)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features (N, 128) of normalised ``images`` (N, channels, height, width)."""
        features: torch.Tensor = F.adaptive_avg_pool2d(self.layers(images), 1).flatten(1)
        return features

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (N, num_classes) for normalised ``images`` (N, channels, height, width)."""
        logits: torch.Tensor = self.classify(self.features(images))
        return logits


def _convolution(channels: int, width: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(channels, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
