"""The checkpoint of a run: global arrays, strategy state and round in one file that is replaced as a whole."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedsec.tensors import DamagedError, UnknownFormatError, read_tensors, write_tensors

Arrays = dict[str, NDArray[np.generic]]

FORMAT = "2"
MODEL, STATE = "model/", "state/"


class CheckpointError(ValueError):
    """A checkpoint cannot be read; the message names the file."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint is not what was written."""


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
    """Replace the checkpoint at ``path`` and keep the one of the round before; when that fails, both stay."""
    tensors = {MODEL + key: array for key, array in checkpoint.arrays.items()}
    tensors |= {STATE + key: array for key, array in checkpoint.state.items()}
    about = {"format": FORMAT, "round": str(checkpoint.server_round)}
    write_tensors(path, tensors, about, earlier=_earlier(path))


def load_checkpoint(path: Path) -> Checkpoint | None:
    """Return the checkpoint at ``path``, or ``None`` if there is none.

    Raises:
        CheckpointError: the file is damaged or of another format.
    """
    if not path.exists():
        return None
    try:
        arrays, about = read_tensors(path)
    except UnknownFormatError as error:
        raise CheckpointError(
            f"{path}: {error}; go on with the version of fedsec that wrote it, or delete it to start the run again"
        ) from error
    except DamagedError as error:
        raise DamagedCheckpointError(f"{path}: damaged ({error}); delete it to start the run again") from error
    if about.get("format") != FORMAT:
        raise CheckpointError(f"{path}: format {about.get('format')!r}; expected {FORMAT!r}")
    return Checkpoint(int(about["round"]), _below(MODEL, arrays), _below(STATE, arrays))


def newest_checkpoint(path: Path, *, trained: bool) -> tuple[Checkpoint | None, str]:
    """Return the newest checkpoint that can be read, and a notice where that is not the newest of all.

    A damaged one is set aside: the run does the round after the earlier one again, with the same numbers. Before the
    first round there is no earlier one, and the run begins anew, with the same numbers too.

    Args:
        path: of the newest.
        trained: whether the run has finished a round. Then it is not begun anew behind anybody's back.

    Raises:
        CheckpointError: none can be read, or the newest is of another version of fedsec.
    """
    earlier = _earlier(path)
    try:
        newest = load_checkpoint(path)
        return (newest, "") if newest is not None else (load_checkpoint(earlier), "")  # killed between two renames
    except DamagedCheckpointError as error:
        before = load_checkpoint(earlier)
        if before is None and trained:
            raise
        aside = path.with_suffix(".damaged")
        path.replace(aside)
        what = f"damaged ({error.__cause__}) and set aside as {aside.name}"
        start = "begins anew" if before is None else f"goes on after round {before.server_round}"
        return before, f"{path}: {what}; the run {start}"


def _earlier(path: Path) -> Path:
    return path.with_name(f"earlier{path.suffix}")


def _below(prefix: str, arrays: Arrays) -> Arrays:
    return {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
