"""The generator of StyleGAN2, with skip connections from every resolution to the image.

Karras et al., *Analyzing and Improving the Image Quality of StyleGAN*, CVPR 2020, figures 2 and 7.  arXiv:1912.04958

Every floating-point number that a client sends is a weight that can be averaged: there are no running averages and no
stored noise. What the federated GAN's reference code does not use is left out: truncation, style mixing and path
length regularisation.
"""

import torch
from torch import nn

from fedsec.models.modulated_convolution import StyledConvolution, ToImage, upsampled
from fedsec.models.style_mapping import MappingNetwork

SIZES = (16, 32, 64, 128, 256)
SMALLEST = 4
"""Side in pixels of the learned constant."""


class StyleGan2Generator(nn.Module):
    """Images from noise: a learned constant of 4 x 4 pixels, convolved and doubled under the control of a style.

    Args:
        channels: channels of an image.
        size: height and width of an image in pixels, a power of two from 16 to 256.
        latent: length of the noise z.
        style: length of a style w.
        channel_base: channels at a side of r pixels are ``channel_base`` / r,
        channel_max: and no more than this.
        mapping_layers: layers of the mapping network.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        latent: int = 64,
        style: int = 128,
        channel_base: int = 32768,
        channel_max: int = 512,
        mapping_layers: int = 8,
    ) -> None:
        super().__init__()
        if size not in SIZES:
            raise ValueError(f"StyleGAN2's images have a power of two from 16 to 256 pixels a side; got {size}.")
        if channel_base < size:
            raise ValueError(
                f"StyleGAN2 needs a channel_base of at least the image's side, for one channel there; "
                f"got {channel_base} for a side of {size}."
            )
        sides = [side for side in (4, 8, *SIZES) if side <= size]
        widths = [min(channel_base // side, channel_max) for side in sides]
        self.channels = channels
        self.mapping = MappingNetwork(latent, style, mapping_layers)
        self.constant = nn.Parameter(torch.randn(widths[0], SMALLEST, SMALLEST))
        self.levels = nn.ModuleList(
            [Level(before, after, channels, style) for before, after in zip([None, *widths], widths, strict=False)]
        )

    def forward(self, z: torch.Tensor, noise: torch.Generator | None = None) -> torch.Tensor:
        """Return images (N, channels, size, size) from ``z`` (N, latent); trained to lie in [-1, 1], but not bound to.

        Args:
            z: noise, one row for each image.
            noise: generator of the CPU of the noise inputs, so that they are the same on every device. ``None`` puts
                their mean, zero, in their place: ``z`` alone decides the image.
        """
        styles = self.mapping(z)
        # In this memory format the convolutions take a fifth less time on a CPU at 32 pixels, and more at 128.
        x = self.constant.expand(len(z), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        images = z.new_zeros(len(z), self.channels, SMALLEST // 2, SMALLEST // 2)
        for level in self.levels:
            x, images = level(x, images, styles, noise)
        return images


class Level(nn.Module):
    """What one side in pixels adds to the images: two convolutions, of which the first doubles the side, and colours.

    Args:
        before: channels at half the side; ``None`` where the side is the constant's, which has one convolution.
        after: channels at this side.
        channels: channels of an image.
        style: length of a style.
    """

    def __init__(self, before: int | None, after: int, channels: int, style: int) -> None:
        super().__init__()
        self.up = None if before is None else StyledConvolution(before, after, style, up=True)
        self.convolution = StyledConvolution(after, after, style)
        self.to_image = ToImage(after, channels, style)

    def forward(
        self, x: torch.Tensor, images: torch.Tensor, styles: torch.Tensor, noise: torch.Generator | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features (N, after, H, W) and images (N, channels, H, W) from those of the level before.

        The images come at half the side; the features too, except the constant.
        """
        if self.up is not None:
            x = self.up(x, styles, noise)
        x = self.convolution(x, styles, noise)
        return x, upsampled(images) + self.to_image(x, styles)


def reference_generator() -> StyleGan2Generator:
    """Return the generator of the federated GAN's reference code: 24.71 million weights for images of 256 x 256."""
    return StyleGan2Generator(3, 256, latent=64, style=128, channel_base=32768, channel_max=512, mapping_layers=8)
