"""Generator and discriminator of a conditional GAN for small images.

Mirza and Osindero, *Conditional Generative Adversarial Nets*, 2014.  arXiv:1411.1784
Radford, Metz and Chintala, *Unsupervised Representation Learning with DCGANs*, 2016.  arXiv:1511.06434
Miyato and Koyama, *cGANs with Projection Discriminator*, 2018.  arXiv:1802.05637
Shi et al., *Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural
Network*, 2016.  arXiv:1609.05158

The thesis on GAN balancing names the kinds of its GANs and leaves their layers open. Here the layers that halve or
double a side at full size, where channels are few, are convolutions at half the side whose channels are rearranged
into pixels, or the reverse: the same kind of map as a strided convolution, and faster.
"""

import torch
from torch import nn
from torch.nn import functional as F

SMALLEST = 4
"""Side in pixels of the smallest image: two halvings have to leave one pixel."""

SLOPE = 0.2


class Generator(nn.Module):
    """Images of given classes from noise: a dense layer to a quarter of the side, which is doubled twice.

    A side that is no multiple of four is cut out of the next larger one that is.

    Attributes:
        trained: (num_classes,) bool, for which classes there were images to learn from; kept with the weights.

    Args:
        channels: channels of an image.
        size: height and width of an image in pixels.
        num_classes: number of classes.
        latent: length of the noise z.
        width: channels of the widest layer, the first.
    """

    trained: torch.Tensor

    def __init__(self, channels: int, size: int, num_classes: int, latent: int, width: int) -> None:
        super().__init__()
        _check_size(size)
        self.size, self.num_classes, self.width = size, num_classes, width
        self.start = -(-size // 4)
        middle = max(1, width // 2)
        self.dense = nn.Linear(latent + num_classes, width * self.start**2, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.up1 = nn.ConvTranspose2d(width, middle, 4, 2, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(middle)
        self.up2 = nn.Conv2d(middle, 4 * channels, 3, padding=1)
        self.register_buffer("trained", torch.zeros(num_classes, dtype=torch.bool))

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return images (N, channels, size, size) in [-1, 1] of classes ``labels`` (N,) from ``z`` (N, latent)."""
        one_hot = F.one_hot(labels, self.num_classes).to(z.dtype)
        x = self.dense(torch.cat([z, one_hot], 1)).view(-1, self.start, self.start, self.width).permute(0, 3, 1, 2)
        x = F.relu(self.norm1(x))
        x = F.relu(self.norm2(self.up1(x)))
        images: torch.Tensor = torch.tanh(F.pixel_shuffle(self.up2(x), 2))
        return images[:, :, : self.size, : self.size]


class Discriminator(nn.Module):
    """How real an image of a class looks, as a logit; or the critic of a Wasserstein GAN, as an unbounded score.

    Without BatchNorm: the gradient penalty of a critic is a function of each image alone, and real and generated
    images can go through together.

    The class enters as a projection: the score is a linear function of the features, plus one that the class chooses.
    A side that is no multiple of four gets a border up to the next larger one that is.

    Args:
        channels: channels of an image.
        size: height and width of an image in pixels.
        num_classes: number of classes.
        width: channels of the wider convolution, the second.
    """

    def __init__(self, channels: int, size: int, num_classes: int, width: int) -> None:
        super().__init__()
        _check_size(size)
        middle = max(1, width // 2)
        self.border = -size % 4
        self.down1 = nn.Conv2d(4 * channels, middle, 3, padding=1)
        self.down2 = nn.Linear(4 * middle, width)
        features = width * ((size + self.border) // 4) ** 2
        self.score = nn.Linear(features, 1)
        self.of_class = nn.Linear(features, num_classes, bias=False)

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return a score (N,) for each of ``images`` (N, channels, size, size) in [-1, 1] of classes ``labels``."""
        if self.border:
            images = F.pad(images, (0, self.border, 0, self.border))
        x = F.leaky_relu(self.down1(_halved(images)), SLOPE)
        x = F.leaky_relu(self.down2(_halved(x).permute(0, 2, 3, 1)), SLOPE).flatten(1)
        scores: torch.Tensor = self.score(x).squeeze(1) + self.of_class(x).gather(1, labels[:, None]).squeeze(1)
        return scores


def _halved(images: torch.Tensor) -> torch.Tensor:
    """Return images (N, C, H, W) as (N, 4 C, H / 2, W / 2), each square of four pixels a pixel.

    ``F.pixel_unshuffle`` with its channels in another order, which takes twice as long in channels_last memory.
    """
    number, channels, height, width = images.shape
    rows = images.permute(0, 2, 3, 1).reshape(number, height // 2, 2, width // 2, 2 * channels)
    return rows.transpose(2, 3).reshape(number, height // 2, width // 2, 4 * channels).permute(0, 3, 1, 2)


def _check_size(size: int) -> None:
    if size < SMALLEST:
        raise ValueError(f"The GAN needs images of at least {SMALLEST} x {SMALLEST} pixels; got {size} x {size}.")
