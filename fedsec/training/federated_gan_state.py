"""What a client of the federated GAN keeps between rounds, as arrays by name.

The generator comes from the server in every round; its optimiser's moments, the discriminator and the discriminator's
moments stay with the client, as in the reference code. No random state is among them: each round's draws have a seed
of their own.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedsec.training.federated_gan_pair import LocalPair

Arrays = dict[str, NDArray[np.generic]]

MOMENTS: dict[type[torch.optim.Optimizer], tuple[str, ...]] = {
    torch.optim.Adam: ("step", "exp_avg", "exp_avg_sq"),
    torch.optim.RMSprop: ("step", "square_avg"),
}
"""What an optimiser keeps for each parameter: the number of its steps, and moments of the parameter's shape."""


class StateMismatchError(ValueError):
    """Arrays are not the state of such a pair; says which one is not."""


def to_arrays(pair: LocalPair) -> Arrays:
    """Return copies of the discriminator's weights and buffers, and of both optimisers' moments and steps.

    Where the discriminator sees augmented images, how likely a change is goes with them.
    """
    tensors = {f"discriminator.{name}": tensor for name, tensor in pair.discriminator.state_dict().items()}
    for part, network, optimiser in _optimisers(pair):
        for name, parameter in network.named_parameters():
            tensors |= {f"{part}.{name}.{key}": kept for key, kept in optimiser.state.get(parameter, {}).items()}
    arrays: Arrays = {name: tensor.detach().cpu().numpy().copy(order="C") for name, tensor in tensors.items()}
    return arrays | {"augmentation": pair.augmentation.to_array()} if pair.augmentation else arrays


def from_arrays(pair: LocalPair, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Give ``pair`` the state that :func:`to_arrays` returned.

    A parameter without moments, which a loss has never reached, starts without.

    Raises:
        StateMismatchError: a name is none of this pair's state, is missing, or its array has another shape; the pair
            is as it was.
    """
    _check(arrays, *_shapes(pair))
    if pair.augmentation:
        pair.augmentation.from_array(arrays["augmentation"])
    with torch.no_grad():
        for name, tensor in pair.discriminator.state_dict().items():
            tensor.copy_(_tensor(arrays[f"discriminator.{name}"]))
    for part, network, optimiser in _optimisers(pair):
        optimiser.state.clear()
        for name, parameter in network.named_parameters():
            first, *moments = MOMENTS[type(optimiser)]
            if f"{part}.{name}.{first}" in arrays:
                # As the optimiser makes them itself: moments in the parameter's own order in memory, which a fused
                # step relies on, and the count beside the parameter only for a fused step.
                device = parameter.device if optimiser.defaults.get("fused") else torch.device("cpu")
                optimiser.state[parameter] = {
                    first: _tensor(arrays[f"{part}.{name}.{first}"]).to(device, torch.float32)
                } | {key: torch.empty_like(parameter).copy_(_tensor(arrays[f"{part}.{name}.{key}"])) for key in moments}


def _optimisers(pair: LocalPair) -> Iterator[tuple[str, nn.Module, torch.optim.Optimizer]]:
    yield "generator-optimiser", pair.generator, pair.generator_optimiser
    yield "discriminator-optimiser", pair.discriminator, pair.discriminator_optimiser


def _shapes(pair: LocalPair) -> tuple[dict[str, tuple[int, ...]], list[list[str]]]:
    """Return the shape of each array of the state, and which of them are there together or not at all."""
    shapes = {f"discriminator.{name}": tuple(tensor.shape) for name, tensor in pair.discriminator.state_dict().items()}
    together = []
    for part, network, optimiser in _optimisers(pair):
        for name, parameter in network.named_parameters():
            first, *moments = (f"{part}.{name}.{key}" for key in MOMENTS[type(optimiser)])
            shapes |= {first: ()} | {key: tuple(parameter.shape) for key in moments}
            together.append([first, *moments])
    return shapes | ({"augmentation": (3,)} if pair.augmentation else {}), together


def _check(
    arrays: Mapping[str, NDArray[np.generic]], shapes: dict[str, tuple[int, ...]], together: list[list[str]]
) -> None:
    for name, array in arrays.items():
        if name not in shapes:
            raise StateMismatchError(f"'{name}' is none of this pair's state")
        if tuple(array.shape) != shapes[name]:
            raise StateMismatchError(f"'{name}' must have shape {shapes[name]}; got {tuple(array.shape)}")
    needed = {name for name in shapes if name.startswith(("discriminator.", "augmentation"))}
    needed |= {name for names in together if not arrays.keys().isdisjoint(names) for name in names}
    missing = sorted(needed - arrays.keys())
    if missing:
        raise StateMismatchError(f"'{missing[0]}' is missing; got {len(arrays)} of {len(shapes)} arrays")


def _tensor(array: NDArray[np.generic]) -> torch.Tensor:
    return torch.from_numpy(np.array(array))
