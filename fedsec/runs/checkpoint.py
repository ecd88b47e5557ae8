"""The checkpoint of a run: global arrays, strategy state and round in one file that is replaced as a whole."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fedsec.durable import write_atomically

Arrays = dict[str, NDArray[np.generic]]

FORMAT = "1"
MODEL, STATE = "model/", "state/"


class CheckpointError(ValueError):
    """A checkpoint cannot be read; the message names the file."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A run between two rounds.

    Attributes:
        server_round: last round that is finished; 0 before the first.
        arrays: global model by name, in the model's order.
        state: what the strategy keeps between rounds.
    """

    server_round: int
    arrays: Arrays
    state: Arrays


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint at ``path``; when that fails, on a full disk for one, the earlier one stays."""
    tensors = {MODEL + key: np.asarray(array, order="C") for key, array in checkpoint.arrays.items()}
    tensors |= {STATE + key: np.asarray(array, order="C") for key, array in checkpoint.state.items()}
    # safetensors sorts by dtype and name, so the model's order is kept beside it.
    order = json.dumps(list(checkpoint.arrays))
    content = save(tensors, {"format": FORMAT, "round": str(checkpoint.server_round), "order": order})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: file.write(content))


def load_checkpoint(path: Path) -> Checkpoint | None:
    """Return the checkpoint at ``path``, or ``None`` if there is none.

    Raises:
        CheckpointError: the file is damaged or of another format.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            metadata: Mapping[str, str] = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise CheckpointError(f"{path}: format {metadata.get('format')!r}; expected {FORMAT!r}")
            arrays = {key: file.get_tensor(MODEL + key) for key in json.loads(metadata["order"])}
            names = [key.removeprefix(STATE) for key in file.keys() if key.startswith(STATE)]  # noqa: SIM118
            state = {name: file.get_tensor(STATE + name) for name in names}
            return Checkpoint(int(metadata["round"]), arrays, state)
    except CheckpointError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise CheckpointError(f"{path}: damaged ({error}); delete it to start the run again") from error
