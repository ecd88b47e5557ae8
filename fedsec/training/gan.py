"""A client's own GAN, trained on its images alone, and what it draws.  Thesis on GAN balancing, 4.4 and 5.1.5."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedsec.models.cgan import Discriminator, Generator
from fedsec.models.drawing import drawn_from
from fedsec.training.gan_batches import BalancedBatches, as_bytes
from fedsec.training.gan_steps import Pair, min_max_step, wasserstein_step
from fedsec.training.threads import one_thread

Watch = Callable[[int, nn.Module], None]
Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

BETAS = {"cgan": (0.5, 0.999), "cwgan": (0.0, 0.9)}
"""Adam's: of the DCGAN, and of the paper on the gradient penalty."""

CHECKED_EVERY = 20
"""Steps between two looks at the losses: each look waits for the device."""

WATCHED = 10
"""Into how many parts the training is divided for those who watch it."""

BLOCK = 500
"""Images generated at a time."""


class GanFailedError(RuntimeError):
    """A GAN cannot be trained on this, did not learn, or cannot draw what is wanted; says what was found."""


@dataclass(frozen=True, slots=True)
class GanSettings:
    """How a client's GAN is built and trained.

    Attributes:
        kind: ``"cgan"``, conditional GAN; ``"cwgan"``, conditional Wasserstein GAN with gradient penalty.
        steps: of the generator.
        batch_size: images in a step.
        learning_rate: of Adam, for both networks.
        latent: length of the noise z.
        width: channels of the widest layer.
        shift: pixels by which real and generated images are moved at random.
        critic_steps: cwgan, steps of the critic for each of the generator.
        penalty: cwgan, weight lambda of the gradient penalty.
        precision: ``"bf16"``, ``"float32"``, or ``"auto"``: bf16 where the processor computes in it.
    """

    kind: Literal["cgan", "cwgan"] = "cgan"
    steps: int = 1200
    batch_size: int = 64
    learning_rate: float = 0.001
    latent: int = 64
    width: int = 32
    shift: int = 2
    critic_steps: int = 5
    penalty: float = 10.0
    precision: Literal["auto", "bf16", "float32"] = "auto"


@dataclass(frozen=True, slots=True)
class TrainedGan:
    """What came of a training.

    Attributes:
        generator: float32, on the CPU, in eval mode.
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
        watch: called with the number of steps done and the generator (eval mode, on ``device``) before the first
            step, after each tenth of the steps, and after the last.

    Raises:
        GanFailedError: there are no images, labels do not fit, or a loss or a weight is no finite number.
    """
    _check(images, labels, num_classes)
    pair = _pair(images, labels, num_classes, settings, seed, device)
    step = partial(wasserstein_step, critic_steps=settings.critic_steps, penalty=settings.penalty)
    steps = min_max_step if settings.kind == "cgan" else step
    losses = torch.zeros(settings.steps, 2, device=device)
    watched = {round(settings.steps * part / WATCHED) for part in range(WATCHED + 1)}
    with one_thread():
        for done in range(settings.steps + 1):
            if watch and done in watched:
                _show(pair.generator, done, watch)
            if done and (done % CHECKED_EVERY == 0 or done == settings.steps):
                _check_losses(losses[:done], settings)
            if done < settings.steps:
                losses[done] = torch.stack(steps(pair))
    if not all(torch.isfinite(weight).all() for weight in pair.generator.state_dict().values()):
        raise GanFailedError(f"the {settings.kind}'s generator has weights that are no finite numbers after training")
    generator_loss, critic_loss = losses.cpu().numpy().T.copy()
    return TrainedGan(pair.generator.eval().cpu(), generator_loss, critic_loss)


def build_generator(channels: int, size: int, num_classes: int, settings: GanSettings) -> nn.Module:
    """Return a generator for weights of a trained one, in eval mode."""
    return Generator(channels, size, num_classes, settings.latent, settings.width).eval()


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
        raise GanFailedError(
            f"the generator knows no class {', '.join(map(str, unknown))}; it was trained on {_listed(trained)}"
        )
    draws = torch.Generator().manual_seed(seed)
    generator.to(device).to(memory_format=torch.channels_last)
    wanted = torch.from_numpy(np.array(labels, np.int64))
    drawn = []
    with one_thread():
        for block in torch.split(wanted, BLOCK):
            z = torch.randn(len(block), latent, generator=draws)
            drawn.append(as_bytes(generator(z.to(device), block.to(device))).cpu().contiguous().numpy())
    return np.concatenate(drawn)


def autocast(precision: Literal["auto", "bf16", "float32"], device: torch.device) -> Callable[[], torch.autocast]:
    """Return the context in which the networks compute: bf16, or float32 as it is."""
    native = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
    enabled = precision == "bf16" or (precision == "auto" and native)
    return partial(torch.autocast, device.type, torch.bfloat16, enabled)


def _pair(
    images: Images, labels: Labels, num_classes: int, settings: GanSettings, seed: int, device: torch.device
) -> Pair:
    """Return both networks with their first weights, their optimisers, and the client's images on the device."""
    channels, size = images.shape[1], images.shape[2]
    weights, shown, drawn = (int(part) for part in np.random.default_rng(seed).integers(2**63 - 1, size=3))
    with drawn_from(weights):
        generator = Generator(channels, size, num_classes, settings.latent, settings.width)
        critic = Discriminator(channels, size, num_classes, settings.width)
    generator.trained[torch.from_numpy(np.unique(labels))] = True
    for network in (generator, critic):
        network.to(device).to(memory_format=torch.channels_last)
    optimisers = [
        torch.optim.Adam(network.parameters(), settings.learning_rate, BETAS[settings.kind], fused=True)
        for network in (generator, critic)
    ]
    on_device = torch.from_numpy(np.array(images)).to(device)
    batches = BalancedBatches(
        on_device, torch.from_numpy(np.array(labels)), settings.batch_size, torch.Generator().manual_seed(shown)
    )
    draws = torch.Generator().manual_seed(drawn)
    arithmetic = autocast(settings.precision, device)
    return Pair(generator, critic, *optimisers, batches, settings.latent, settings.shift, draws, arithmetic)


def _check(images: Images, labels: Labels, num_classes: int) -> None:
    if images.ndim != 4 or images.shape[2] != images.shape[3]:
        raise GanFailedError(f"a GAN needs square images (N, C, H, W); got an array of shape {images.shape}")
    if len(images) == 0 or len(labels) != len(images):
        raise GanFailedError(f"a GAN needs images with a label each; got {len(images)} images, {len(labels)} labels")
    if labels.min() < 0 or labels.max() >= num_classes:
        outside = np.unique(labels[(labels < 0) | (labels >= num_classes)])
        raise GanFailedError(f"the generator has {num_classes} classes, from 0 on; the data have {_listed(outside)}")


def _check_losses(losses: torch.Tensor, settings: GanSettings) -> None:
    finite = torch.isfinite(losses).all(1)
    if not finite.all():
        step = int((~finite).nonzero()[0])
        ours, theirs = losses[step].tolist()
        raise GanFailedError(
            f"step {step} of the {settings.kind}: the generator's loss is {ours:g}, the critic's {theirs:g}; "
            f"a smaller learning rate than {settings.learning_rate:g} may help"
        )


def _show(generator: nn.Module, done: int, watch: Watch) -> None:
    generator.eval()
    watch(done, generator)
    generator.train()


def _listed(classes: NDArray[np.int64]) -> str:
    return "class " + ", ".join(map(str, classes[:10])) if len(classes) else "no class"
