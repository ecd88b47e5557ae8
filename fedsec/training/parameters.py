"""A model's parameters and buffers as numpy arrays, and back."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


def get_arrays(model: nn.Module) -> dict[str, NDArray[np.generic]]:
    """Return copies of the parameters and buffers by name, in the order of the state dict."""
    return {name: tensor.detach().cpu().numpy().copy(order="C") for name, tensor in model.state_dict().items()}


def set_arrays(model: nn.Module, arrays: Sequence[NDArray[np.generic]]) -> None:
    """Copy ``arrays``, in the order of the state dict, into ``model``.

    Raises:
        ValueError: their number or a shape is not the model's.
    """
    state = model.state_dict()
    if len(arrays) != len(state):
        raise ValueError(f"the model has {len(state)} arrays; got {len(arrays)}")
    for (name, tensor), array in zip(state.items(), arrays, strict=True):
        if tuple(array.shape) != tuple(tensor.shape):
            raise ValueError(f"array '{name}' must have shape {tuple(tensor.shape)}; got {array.shape}")
    with torch.no_grad():
        for tensor, array in zip(state.values(), arrays, strict=True):
            tensor.copy_(torch.from_numpy(np.array(array)))
