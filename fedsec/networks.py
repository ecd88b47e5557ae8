"""The networks that a configuration names, for both sides of a run."""

from torch import nn

from fedsec.models.classifiers import build_classifier
from fedsec.models.dcgan import DcganDiscriminator
from fedsec.models.generators import build_generator
from fedsec.runs.config import RunConfig
from fedsec.training.classifier import TrainingSettings

Shape = tuple[int, ...]


def shared_network(config: RunConfig, shape: Shape, num_classes: int, *, seed: int | None = None) -> nn.Module:
    """Return the network that clients exchange: a classifier, or the generator of a federated GAN.

    Args:
        config: the run's configuration.
        shape: of an image, (C, H, W).
        num_classes: number of classes of the federation.
        seed: initial weights are drawn from it alone; ``None`` draws from the process's generator.
    """
    channels, size, gan = shape[0], shape[1], config.fedgan
    if not config.generative:
        return build_classifier(config.model.name, channels, size, num_classes, seed=seed)
    return build_generator(
        config.model.name,
        channels,
        size,
        latent=gan.latent,
        width=gan.width,
        style=gan.style,
        mapping_layers=gan.mapping_layers,
        channel_base=gan.channel_base,
        channel_max=gan.channel_max,
        seed=seed,
    )


def training_settings(config: RunConfig) -> TrainingSettings:
    """Return how clients train a classifier; shadow models on the server are trained alike."""
    federation = config.federation
    return TrainingSettings(
        federation.local_epochs,
        federation.batch_size,
        federation.learning_rate,
        federation.momentum,
        federation.optimiser,
    )


def discriminator(config: RunConfig, shape: Shape) -> nn.Module:
    """Return a client's discriminator, or its critic; its weights are drawn from the process's generator.

    Args:
        config: the run's configuration.
        shape: of an image, (C, H, W).
    """
    return DcganDiscriminator(
        shape[0], shape[1], config.fedgan.critic_width, "batch" if config.fedgan.loss == "min-max" else "instance"
    )
