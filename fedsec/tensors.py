"""Arrays in a file that tells whether its bytes are still those that were written: safetensors with a digest inside."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fedsec.durable import write_atomically

Arrays = dict[str, NDArray[np.generic]]

DIGEST, ORDER = "digest", "order"


class DamagedError(ValueError):
    """A file of arrays cannot be read, or is not what was written."""


class UnknownFormatError(DamagedError):
    """A file of arrays can be read and has no digest: it was written by something else, or an earlier version."""


def arrays_hash(arrays: Mapping[str, NDArray[np.generic]]) -> str:
    """Return the SHA-256 of arrays: names, shapes, dtypes and values, in their order."""
    digest = hashlib.sha256()
    for key, array in arrays.items():
        digest.update(f"{key} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def write_tensors(
    path: Path, arrays: Mapping[str, NDArray[np.generic]], about: Mapping[str, str], *, earlier: Path | None = None
) -> None:
    """Replace the file at ``path``; when that fails, on a full disk for one, the earlier one stays.

    Args:
        path: the file; its folder is made where it is missing.
        arrays: by name; their order is kept.
        about: texts to keep beside them, but none called ``digest`` or ``order``.
        earlier: where the file that was there goes, if it is to be kept.
    """
    whole = {key: np.asarray(array, order="C") for key, array in arrays.items()}
    # safetensors sorts by dtype and name, so the order is kept beside it.
    metadata = {**about, ORDER: json.dumps(list(whole)), DIGEST: _digest(whole, about)}
    path.parent.mkdir(parents=True, exist_ok=True)
    content = save(whole, metadata)
    write_atomically(path, lambda file: file.write(content), earlier=earlier)


def read_tensors(path: Path) -> tuple[Arrays, dict[str, str]]:
    """Return the arrays in a file and the texts beside them.

    Raises:
        DamagedError: the file cannot be read, or is not what was written.
        UnknownFormatError: it has no digest.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            about: dict[str, str] = dict(file.metadata() or {})
            if not about.keys() >= {DIGEST, ORDER}:
                raise UnknownFormatError("it has no digest; another version of fedsec wrote it")
            arrays: Arrays = {key: file.get_tensor(key) for key in json.loads(about.pop(ORDER))}
    except UnknownFormatError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise DamagedError(str(error) or type(error).__name__) from error
    if about.pop(DIGEST, None) != _digest(arrays, about):
        raise DamagedError("its content is not what was written")
    return arrays, about


def _digest(arrays: Mapping[str, NDArray[np.generic]], about: Mapping[str, str]) -> str:
    return hashlib.sha256(f"{json.dumps(dict(about), sort_keys=True)}\n{arrays_hash(arrays)}".encode()).hexdigest()
