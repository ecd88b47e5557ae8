"""The classifier and the generator of the attack that rebuilds a client's class.

Figure 4 and section III.C of the paper on adversarial attacks with GANs on federated learning (the folder
``experiments/gan_reconstruction`` names it); after Hitaj, Ateniese and Perez-Cruz, *Deep Models Under the GAN*,
CCS 2017.  arXiv:1702.07464

The paper's transposed convolutions lead from 7 x 7 to 28 x 28, so each of the two with a stride of 2 doubles the side
exactly: one pixel of padding, and one more pixel at the end. Its convolutions lead from 28 to 13 and 6 pixels, so they
have no padding.

Weights are drawn as Keras draws them by default (Glorot and Bengio, AISTATS 2010), whose default the paper's epsilon of
1e-7 is. With torch's own, which are about half as large, a federation of one class a user takes far longer to learn.
"""

import torch
from torch import nn
from torch.nn import functional as F

SMALLEST = 8
"""Side in pixels of the smallest image: the second convolution has to leave one pixel."""

HIDDEN, LATENT = 200, 100
NARROW, WIDE = 32, 64


class ReconstructionClassifier(nn.Module):
    """A classifier with one more output than classes: the last one is for what the adversary generates.

    For 1 x 28 x 28 and ten classes it has 482,027 parameters.

    Args:
        channels: channels of an image.
        size: height and width of an image in pixels, at least 8.
        num_classes: number of classes; there is one more output.
    """

    def __init__(self, channels: int = 1, size: int = 28, num_classes: int = 10) -> None:
        super().__init__()
        if size < SMALLEST:
            raise ValueError(f"the classifier needs images of at least {SMALLEST} x {SMALLEST} pixels; got {size}.")
        side = ((size - 1) // 2 - 1) // 2
        self.conv1 = nn.Conv2d(channels, NARROW, 3, stride=2)
        self.conv2 = nn.Conv2d(NARROW, WIDE, 3, stride=2)
        self.fc1 = nn.Linear(WIDE * side * side, HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, num_classes + 1)
        self.apply(_draw_weights)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (N, num_classes + 1) for ``images`` (N, channels, size, size) in [-1, 1]."""
        x = F.relu(self.conv1(images))
        x = F.relu(self.conv2(x))
        x = F.relu(self.fc1(x.flatten(1)))
        logits: torch.Tensor = self.fc2(x)
        return logits


class ReconstructionGenerator(nn.Module):
    """Images from uniform noise: a dense layer to a quarter of the side, which is doubled twice.

    For 1 x 28 x 28 it has 172,385 parameters.

    Args:
        channels: channels of an image.
        size: height and width of an image in pixels, a multiple of 4.
        latent: length of the noise z.
    """

    def __init__(self, channels: int = 1, size: int = 28, latent: int = LATENT) -> None:
        super().__init__()
        if size % 4 or size < SMALLEST:
            raise ValueError(f"the generator makes images whose side is a multiple of 4, at least 8; got {size}.")
        self.latent, self.start = latent, size // 4
        self.dense = nn.Linear(latent, NARROW * self.start**2)
        self.up1 = nn.ConvTranspose2d(NARROW, NARROW, 3, 2, 1, output_padding=1)
        self.up2 = nn.ConvTranspose2d(NARROW, NARROW // 2, 3, 2, 1, output_padding=1)
        self.last = nn.ConvTranspose2d(NARROW // 2, channels, 3, 1, 1)
        self.apply(_draw_weights)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Return images (N, channels, size, size) in [-1, 1] from ``z`` (N, latent), uniform in [-1, 1]."""
        x = F.relu(self.dense(z)).view(-1, NARROW, self.start, self.start)
        x = F.relu(self.up1(x))
        x = F.relu(self.up2(x))
        images: torch.Tensor = torch.tanh(self.last(x))
        return images


def _draw_weights(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
