"""The adversary's generator, trained against a global model that stays as it is.

Section III.C and equation 2 of the paper on adversarial attacks with GANs on federated learning
(``experiments/gan_reconstruction``); Hitaj, Ateniese and Perez-Cruz, CCS 2017.  arXiv:1702.07464
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from fedsec.attacks.reconstruction import lured
from fedsec.models.drawing import drawn_from
from fedsec.models.reconstruction import ReconstructionGenerator
from fedsec.training.classifier import adam
from fedsec.training.gan_batches import as_bytes
from fedsec.training.image_priors import shifted, total_variation

Arrays = dict[str, NDArray[np.generic]]
Images = NDArray[np.uint8]

BLOCK = 250
"""Images generated at a time."""

MOMENTS = ("step", "exp_avg", "exp_avg_sq")
GENERATOR, OPTIMISER = "generator.", "optimiser."


class StateMismatchError(ValueError):
    """Arrays are not the state of such a generator; says which one is not."""


@dataclass(frozen=True, slots=True)
class ReconstructionSettings:
    """How the adversary attacks; the defaults are the paper's.

    Attributes:
        victim: the class to rebuild.
        start_accuracy: of the global model, 0 to 1, at which it begins.
        updates: of the generator in a round.
        batch_size: images in an update.
        learning_rate: of the generator's Adam.
        fakes: generated images on which the adversary trains its own model in a round.
        total_variation: weight of the images' total variation in the generator's loss. Not in the paper, as the next.
        jitter: pixels by which images are shifted at most, each way, before the global model sees them.
    """

    victim: int
    start_accuracy: float = 0.9
    updates: int = 500
    batch_size: int = 16
    learning_rate: float = 0.001
    fakes: int = 5000
    total_variation: float = 0.0
    jitter: int = 0


@dataclass(frozen=True, slots=True)
class Forger:
    """A generator and its optimiser, both of which outlive a round."""

    generator: ReconstructionGenerator
    optimiser: torch.optim.Optimizer

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.generator.dense.weight.device


def new_forger(shape: tuple[int, ...], learning_rate: float, seed: int, device: torch.device) -> Forger:
    """Return a generator of images of a ``shape`` (C, H, W) that has learned nothing; ``seed`` draws its weights."""
    with drawn_from(seed):
        generator = ReconstructionGenerator(shape[0], shape[1])
    generator = generator.to(device).to(memory_format=torch.channels_last)
    return Forger(generator, adam(generator, learning_rate))


def train_forger(
    forger: Forger, discriminator: nn.Module, settings: ReconstructionSettings, draws: torch.Generator
) -> float:
    """Train the generator in place until the discriminator takes its images for the victim's; return the mean loss.

    Equation 2 of the paper is the logarithm of what the discriminator gives the victim's class, which the generator
    makes as large as it can. The discriminator does not change. Beyond the paper, what is generated may be held smooth
    (:mod:`fedsec.training.image_priors`), which the mean loss leaves out.

    Args:
        forger: the generator.
        discriminator: the global model, from images in [-1, 1] to logits.
        settings: how many updates of how many images.
        draws: CPU generator of noise and shifts, so that they are the same on every device.
    """
    wanted = torch.from_numpy(lured(settings.batch_size, settings.victim)).to(forger.device)
    total = torch.zeros((), device=forger.device)
    noise = _noise(forger, settings.updates * settings.batch_size, draws)
    shifts = _shifts(settings, draws)
    with _frozen(discriminator):
        for z, (down, across) in zip(torch.split(noise, settings.batch_size), shifts, strict=True):
            forger.optimiser.zero_grad(set_to_none=True)
            images = forger.generator(z)
            fooled = F.cross_entropy(discriminator(shifted(images, down, across)), wanted)
            loss = fooled
            if settings.total_variation:
                loss = fooled + settings.total_variation * total_variation(images)
            loss.backward()  # type: ignore[no-untyped-call]
            forger.optimiser.step()
            total += fooled.detach()
    return float(total) / settings.updates


@torch.no_grad()
def forge(forger: Forger, count: int, draws: torch.Generator) -> Images:
    """Return ``count`` generated images (count, C, H, W) as bytes."""
    blocks = torch.split(_noise(forger, count, draws), BLOCK)
    made = [as_bytes(forger.generator(z)).cpu().contiguous().numpy() for z in blocks]
    return np.concatenate(made)


def to_arrays(forger: Forger) -> Arrays:
    """Return copies of the generator's weights and of its optimiser's moments and steps, by name."""
    tensors = {GENERATOR + name: tensor for name, tensor in forger.generator.state_dict().items()}
    for name, parameter in forger.generator.named_parameters():
        tensors |= {f"{OPTIMISER}{name}.{key}": kept for key, kept in forger.optimiser.state.get(parameter, {}).items()}
    return {name: tensor.detach().cpu().numpy().copy(order="C") for name, tensor in tensors.items()}


def from_arrays(forger: Forger, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Give the generator and its optimiser what :func:`to_arrays` returned.

    Raises:
        StateMismatchError: a name is missing or is none of theirs, or an array has another shape; both are as before.
    """
    parameters = dict(forger.generator.named_parameters())
    shapes = {GENERATOR + name: tuple(p.shape) for name, p in parameters.items()}
    for name, p in parameters.items():
        shapes |= {f"{OPTIMISER}{name}.{key}": () if key == MOMENTS[0] else tuple(p.shape) for key in MOMENTS}
    if wrong := sorted(shapes.keys() ^ arrays.keys()):
        raise StateMismatchError(f"'{wrong[0]}' is missing, or none of the generator's state")
    for name, shape in shapes.items():
        if tuple(arrays[name].shape) != shape:
            raise StateMismatchError(f"'{name}' must have shape {shape}; got {tuple(arrays[name].shape)}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(_tensor(arrays[GENERATOR + name]))
            steps, *moments = (_tensor(arrays[f"{OPTIMISER}{name}.{key}"]) for key in MOMENTS)
            # In the parameter's own order in memory, as the optimiser makes them itself.
            kept = [torch.empty_like(parameter).copy_(moment) for moment in moments]
            forger.optimiser.state[parameter] = dict(zip(MOMENTS, [steps.to(parameter.device), *kept], strict=True))


def _noise(forger: Forger, count: int, draws: torch.Generator) -> torch.Tensor:
    """Return noise (count, latent), uniform in [-1, 1]. The paper: "a 100-dimensional uniform distribution"."""
    return torch.rand(count, forger.generator.latent, generator=draws).mul_(2).sub_(1).to(forger.device)


def _shifts(settings: ReconstructionSettings, draws: torch.Generator) -> list[list[int]]:
    """Return how far an update's images are shifted, down and across, for every update."""
    if not settings.jitter:
        return [[0, 0]] * settings.updates
    shifts: list[list[int]] = torch.randint(
        -settings.jitter, settings.jitter + 1, (settings.updates, 2), generator=draws
    ).tolist()
    return shifts


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Let gradients pass through a network and reach none of its weights."""
    network.eval()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in network.parameters():
            parameter.requires_grad_(True)


def _tensor(array: NDArray[np.generic]) -> torch.Tensor:
    return torch.from_numpy(np.array(array))
