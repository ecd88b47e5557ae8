"""One client's local work in the federated GAN: an epoch of its generator against its own discriminator.

Jin and Li, *Backdoor Attack is a Devil in Federated GAN-based Medical Image Synthesis*, 2022, Algorithm 1,
procedure A.  arXiv:2207.00762
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice

import torch

from fedsec.training.federated_gan_pair import FederatedGanSettings as FederatedGanSettings
from fedsec.training.federated_gan_pair import LocalPair
from fedsec.training.federated_gan_pair import new_local_pair as new_local_pair
from fedsec.training.federated_gan_steps import local_step, opposed
from fedsec.training.gan import GanFailedError
from fedsec.training.gan_batches import as_floats


@dataclass(frozen=True, slots=True)
class LocalLosses:
    """What came of a client's training.

    Attributes:
        generator: the generator's loss as it is reported, see ``FederatedGanSettings.reported``.
        discriminator: the discriminator's or critic's, likewise.
        steps: of the generator.
    """

    generator: float
    discriminator: float
    steps: int


def train_locally(pair: LocalPair, images: torch.Tensor, order: torch.Generator) -> LocalLosses:
    """Train both networks in place, for the epochs of the pair's settings.

    An epoch shows the discriminator each image once. With several critic steps the generator has so many times fewer;
    the last of an epoch comes after whatever batches are left.

    Args:
        pair: the networks, on the device of ``images``.
        images: (N, C, H, W) uint8, at least one.
        order: CPU generator of the order of the images, so that it is the same on every device.

    Raises:
        GanFailedError: a loss, a weight, or what an optimiser keeps of its steps is no finite number.
    """
    settings = pair.settings
    losses: list[torch.Tensor] = []
    for _ in range(settings.epochs):
        batches = epoch_batches(images, settings.batch_size, order)
        steps = _in_steps(batches, settings.batches_in_a_step)
        losses.append(torch.stack([torch.stack(local_step(pair, step)) for step in steps]))
        _check(pair, losses)
    last = losses[-1].double()
    generator, discriminator = (last[-1] if settings.reported == "last-batch" else last.mean(0)).tolist()
    return LocalLosses(generator, discriminator, sum(map(len, losses)))


def epoch_batches(images: torch.Tensor, batch_size: int, order: torch.Generator) -> Iterator[torch.Tensor]:
    """Yield each of the images once, in an order drawn anew, in batches of ``batch_size``.

    The images that fill no batch are left out of the epoch, as in the reference code, unless they are all there are.
    """
    chosen = torch.randperm(len(images), generator=order)
    whole = len(images) // batch_size * batch_size or len(images)
    for batch in torch.split(chosen[:whole].to(images.device), batch_size):
        yield images[batch]


@torch.no_grad()
def loss_of_generator(pair: LocalPair, number: int) -> float:
    """Return the generator's loss on ``number`` new images; nothing is trained.

    The networks are in the mode in which they train, so that the loss is of the kind that a training reports. It
    leaves BatchNorm's running statistics changed.
    """
    sizes = [min(pair.settings.batch_size, number - done) for done in range(0, number, pair.settings.batch_size)]
    return math.fsum(float(opposed(pair, pair.fake(size))) * size for size in sizes) / number


def _in_steps(batches: Iterator[torch.Tensor], size: int) -> Iterator[list[torch.Tensor]]:
    """Yield the batches, as floats in [-1, 1], that belong to each step of the generator."""
    while step := [as_floats(batch) for batch in islice(batches, size)]:
        yield step


def _check(pair: LocalPair, losses: list[torch.Tensor]) -> None:
    for step, both in enumerate(torch.cat(losses).tolist(), 1):
        if not all(map(math.isfinite, both)):
            raise GanFailedError(
                f"the client's GAN diverged in step {step}: the generator's loss is {both[0]:g}, its opponent's "
                f"{both[1]:g}; a smaller learning rate than {pair.settings.learning_rate:g} may help"
            )
    for name, values in _numbers(pair):
        if not torch.isfinite(values).all():
            raise GanFailedError(f"the client's GAN diverged: its {name} are no finite numbers after training")


def _numbers(pair: LocalPair) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield every number that outlives the round, with what it is."""
    for name, network in (("generator's weights", pair.generator), ("discriminator's weights", pair.discriminator)):
        for values in network.state_dict().values():
            yield name, values
    for name, optimiser in (
        ("generator's moments", pair.generator_optimiser),
        ("discriminator's moments", pair.discriminator_optimiser),
    ):
        for values in chain.from_iterable(kept.values() for kept in optimiser.state.values()):
            yield name, values
