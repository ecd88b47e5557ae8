"""The generators of a federated GAN by name."""

from torch import nn

from fedsec.models.dcgan import DcganGenerator
from fedsec.models.drawing import drawn_from


def build_generator(
    name: str,
    channels: int,
    size: int,
    *,
    latent: int,
    width: int,
    style: int,
    mapping_layers: int,
    channel_base: int,
    channel_max: int,
    seed: int | None = None,
) -> nn.Module:
    """Return the generator ``name``, from noise (N, latent) to images (N, channels, size, size) in [-1, 1].

    Args:
        name: ``"dcgan"`` or ``"stylegan2"``.
        channels: channels of an image.
        size: height and width of an image in pixels.
        latent: length of the noise z.
        width: of ``"dcgan"``, see :class:`~fedsec.models.dcgan.DcganGenerator`.
        style: of ``"stylegan2"``, as the following, see :class:`~fedsec.models.stylegan2.StyleGan2Generator`.
        mapping_layers: layers of its mapping network.
        channel_base: channels of a layer, times its side.
        channel_max: most channels of a layer.
        seed: initial weights are drawn from it alone; ``None`` draws from the process's generator.

    Raises:
        ValueError: there is no such generator, or not for images of this size.
    """
    with drawn_from(seed):
        if name == "dcgan":
            return DcganGenerator(channels, size, latent, width)
        if name == "stylegan2":
            from fedsec.models.stylegan2 import StyleGan2Generator

            return StyleGan2Generator(channels, size, latent, style, channel_base, channel_max, mapping_layers)
    raise ValueError(f"no generator is called {name!r}; expected 'dcgan' or 'stylegan2'")
