"""A client's own GAN, trained on its images alone, and what it draws.  Thesis on GAN balancing, 4.4 and 5.1.5."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedsec.models.cgan import SMALLEST
from fedsec.training.averaging import Average
from fedsec.training.gan_batches import as_bytes
from fedsec.training.gan_networks import GanSettings as GanSettings
from fedsec.training.gan_networks import build_generator as build_generator
from fedsec.training.gan_networks import new_pair
from fedsec.training.gan_steps import min_max_step, wasserstein_step
from fedsec.training.threads import one_thread

Watch = Callable[[int, nn.Module], None]
Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

DECAY = 0.98
"""Of the average of the generator's weights, which is what draws: of about the last fifty steps."""

CHECKED_EVERY = 20
"""Steps between two looks at the losses: each look waits for the device."""

WATCHED = 10
"""Into how many parts the training is divided for those who watch it."""

BLOCK = 500
"""Images generated at a time."""

LEAST_SPREAD, LOOKED_AT = 0.05, 1000
"""Share of the real images' spread below which generated ones are one picture, and how many of each are looked at."""

LOW_SPREAD, FAR = 0.3, 0.7
"""Share of the real images' spread below which generated ones differ little, and part of it by which the mean of a
class may lie from that of the real ones. Four clients' untrained generators lie 1.2 to 2.7 away, on Fashion-MNIST and
MNIST; those of 600 steps 0.2 to 0.4."""


class GanFailedError(RuntimeError):
    """A GAN cannot be trained on this, did not learn, or cannot draw what is wanted; says what was found."""


@dataclass(frozen=True, slots=True)
class TrainedGan:
    """What came of a training.

    Attributes:
        generator: with the average of its last weights, float32, on the CPU, in eval mode.
        generator_loss: (steps,) float32.
        critic_loss: (steps,) float32, of the discriminator or the critic; cwgan: of its last step in each.
    """

    generator: nn.Module
    generator_loss: NDArray[np.float32]
    critic_loss: NDArray[np.float32]


def train_gan(
    images: Images,
    labels: Labels,
    num_classes: int,
    settings: GanSettings,
    seed: int,
    device: torch.device,
    watch: Watch | None = None,
) -> TrainedGan:
    """Train a GAN on one client's images, evenly of the classes that it has; everything is drawn from ``seed``.

    A client of one class, or with few images of one, gets a GAN like any other. A class without images is never
    shown, and :func:`generate` refuses to draw it.

    Args:
        images: (N, C, H, W) uint8, square.
        labels: (N,) their classes, below ``num_classes``.
        num_classes: number of classes of the federation.
        settings: sizes and steps.
        seed: of the weights and every draw.
        device: where to compute.
        watch: called with the number of steps done and the generator as it would be returned then, but on ``device``,
            before the first step, after each tenth of the steps, and after the last.

    Raises:
        GanFailedError: there are no images, labels do not fit, or a loss or a weight is no finite number.
    """
    _check(images, labels, num_classes)
    pair = new_pair(images, labels, num_classes, settings, seed, device)
    wasserstein = partial(wasserstein_step, critic_steps=settings.critic_steps, penalty=settings.penalty)
    step = min_max_step if settings.kind == "cgan" else wasserstein
    average = Average(pair.generator, DECAY)
    losses = torch.zeros(settings.steps, 2, device=device)
    watched = {round(settings.steps * part / WATCHED) for part in range(WATCHED + 1)}
    with one_thread():
        for done in range(settings.steps + 1):
            if done % CHECKED_EVERY == 0 or done in watched:
                _check_losses(losses[:done], settings)
            if watch and done in watched:
                watch(done, average.network)
            if done < settings.steps:
                losses[done] = torch.stack(step(pair))
                average.update()
    if not all(torch.isfinite(weight).all() for weight in average.network.state_dict().values()):
        raise GanFailedError(f"the {settings.kind}'s generator has weights that are no finite numbers after training")
    generator_loss, critic_loss = losses.cpu().numpy().T.copy()
    return TrainedGan(average.network.cpu(), generator_loss, critic_loss)


@torch.no_grad()
def generate(generator: nn.Module, labels: Labels, latent: int, seed: int, device: torch.device) -> Images:
    """Return one image for each label: (K, C, H, W) uint8, the same for the same seed.

    Args:
        generator: in eval mode; it is moved to ``device``.
        labels: (K,) classes to draw.
        latent: length of the generator's noise.
        seed: of the noise.
        device: where to compute.

    Raises:
        GanFailedError: a label is none that the generator was trained on.
    """
    trained = np.flatnonzero(generator.get_buffer("trained").cpu().numpy())
    unknown = np.setdiff1d(labels, trained)
    if len(unknown):
        raise GanFailedError(f"the generator cannot draw {_listed(unknown)}; it was trained on {_listed(trained)}")
    noise = torch.randn(len(labels), latent, generator=torch.Generator().manual_seed(seed))
    generator.to(device).to(memory_format=torch.channels_last)
    wanted = torch.from_numpy(np.array(labels, np.int64))
    drawn = []
    with one_thread():
        for z, block in zip(torch.split(noise, BLOCK), torch.split(wanted, BLOCK), strict=True):
            drawn.append(as_bytes(generator(z.to(device), block.to(device))).cpu().contiguous().numpy())
    return np.concatenate(drawn)


def check_spread(drawn: Images, real: Images) -> None:
    """Refuse a generator that draws one picture whatever it is asked for: its losses can be finite all the same.

    Args:
        drawn: (K, C, H, W) uint8, in order of their classes.
        real: (N, C, H, W) uint8, the client's images of these classes, in any order.

    Raises:
        GanFailedError: the generated images hardly differ, and the real ones do.
    """
    if len(drawn) < 2:
        return
    found, wanted = _spread(drawn), _spread(real)
    if found < LEAST_SPREAD * wanted:
        raise GanFailedError(
            f"it draws one picture whatever it is asked for: its images differ by {found:.2g} grey levels from their "
            f"mean, the real ones by {wanted:.2g}"
        )


def shortcomings(drawn: Images, labels: Labels, real: Images, real_labels: Labels) -> str:
    """Return how generated images are plainly unlike the client's own, as those of a few steps are; "" if they are not.

    Args:
        drawn: (K, C, H, W) uint8.
        labels: (K,) their classes.
        real: (N, C, H, W) uint8, the client's images of these classes.
        real_labels: (N,) their classes.
    """
    if not len(drawn):
        return ""
    spread, found = _spread(real), _spread(drawn)
    away = [
        _mean_image(drawn[labels == label]) - _mean_image(real[real_labels == label]) for label in np.unique(labels)
    ]
    far = float(np.mean(np.abs(away)))
    if far > FAR * spread:
        return f"the mean of a class lies {far:.0f} grey levels from its own, which differ by {spread:.0f} from theirs"
    if found < LOW_SPREAD * spread:
        return f"they differ by {found:.2g} grey levels from their mean, its own by {spread:.2g}"
    return ""


def _mean_image(images: Images) -> NDArray[np.float32]:
    mean: NDArray[np.float32] = images.mean(0, dtype=np.float32)
    return mean


def _spread(images: Images) -> float:
    """Return by how much images (N, C, H, W) differ from their mean, on average over pixels; some stand for many."""
    some = images[:: -(-len(images) // LOOKED_AT)].astype(np.float32)
    return float(np.abs(some - some.mean(0)).mean())


def _check(images: Images, labels: Labels, num_classes: int) -> None:
    if images.ndim != 4 or images.shape[2] != images.shape[3] or images.dtype != np.uint8:
        raise GanFailedError(f"a GAN needs square uint8 images (N, C, H, W); got {images.dtype} {images.shape}")
    if len(images) == 0 or len(labels) != len(images):
        raise GanFailedError(f"a GAN needs images with a label each; got {len(images)} images, {len(labels)} labels")
    if images.shape[2] < SMALLEST:
        raise GanFailedError(
            f"a GAN needs images of at least {SMALLEST} x {SMALLEST} pixels; got {images.shape[2]} x {images.shape[2]}"
        )
    outside = np.unique(labels[(labels < 0) | (labels >= num_classes)])
    if len(outside):
        raise GanFailedError(f"the generator has {num_classes} classes, from 0 on; the data have {_listed(outside)}")


def _check_losses(losses: torch.Tensor, settings: GanSettings) -> None:
    finite = torch.isfinite(losses).all(1)
    if not finite.all():
        step = int((~finite).nonzero()[0])
        ours, theirs = losses[step].tolist()
        raise GanFailedError(
            f"the {settings.kind} diverged in step {step}: the generator's loss is {ours:g}, its opponent's "
            f"{theirs:g}; a smaller learning rate than {settings.learning_rate:g} may help"
        )


def _listed(classes: NDArray[np.int64]) -> str:
    return f"class {', '.join(map(str, classes))}" if len(classes) else "no class"
