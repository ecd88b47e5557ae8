"""LeNet-5.  LeCun et al., *Gradient-Based Learning Applied to Document Recognition*, Proceedings of the IEEE, 1998.

Deviation: ReLU and maximum pooling in place of the scaled tanh and trained averages, as in today's use.
"""

import torch
from torch import nn
from torch.nn import functional as F


class LeNet5(nn.Module):
    """LeNet-5 for small images; 61,706 parameters for ten classes of 1 x 28 x 28.

    Args:
        channels: channels of an image.
        size: height and width of an image in pixels, at least 12.
        num_classes: number of outputs.
    """

    def __init__(self, channels: int = 1, size: int = 28, num_classes: int = 10) -> None:
        super().__init__()
        side = (size // 2 - 4) // 2
        if side < 1:
            raise ValueError(f"LeNet-5 needs images of at least 12 x 12 pixels; got {size} x {size}.")
        self.conv1 = nn.Conv2d(channels, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * side * side, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (N, num_classes) for normalised ``images`` (N, channels, size, size)."""
        # The pooled maximum of rectified values is the rectified maximum, with a quarter of the values to rectify.
        x = F.relu(F.max_pool2d(self.conv1(images), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        x = F.relu(self.fc1(x.flatten(1)))
        x = F.relu(self.fc2(x))
        logits: torch.Tensor = self.fc3(x)
        return logits
