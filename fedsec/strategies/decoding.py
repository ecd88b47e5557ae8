"""From what a client sent to arrays. Every claim is compared with what was sent to it before anything is decoded.

A payload is an npy file (numpy.lib.format): a short header that names dtype, order and shape, then the values. The
header is read by a pattern that only numbers fit, the values are used where they lie: nothing is evaluated, nothing
unpickled, nothing allocated, whatever the header claims.
"""

import re
from collections.abc import Iterable, Mapping
from itertools import islice

import numpy as np
from flwr.app import Array, ArrayRecord
from flwr.common import Parameters
from flwr.common.constant import SType
from numpy.typing import NDArray

from fedsec.strategies.layout import Arrays, BadReplyError
from fedsec.strategies.wording import shown

MAGIC = b"\x93NUMPY"
LONGEST_HEADER = 1024
"""Bytes of a header. numpy writes 118 for the arrays of a model, and pads to multiples of 64."""

HEADER = re.compile(
    rb"\{'descr': '([^'\\]{1,16})', 'fortran_order': (True|False), 'shape': \(((?:\d{1,18}, ?)*\d{0,18})\),? ?\} *\n"
)
DTYPES = {np.dtype(code).str: str(np.dtype(code)) for code in np.typecodes["AllFloat"] + np.typecodes["AllInteger"]}
LISTED = 3


def decode_arrays(claimed: Mapping[str, Array], sent: Arrays) -> dict[str, NDArray[np.generic]]:
    """Return a client's arrays by name. Read only: their values lie in the reply.

    Args:
        claimed: the arrays as they came.
        sent: the arrays that were sent to the client, which its own must match in name, dtype and shape.

    Raises:
        BadReplyError: they do not match, or cannot be decoded.
    """
    check_names(claimed, sent)
    for key, array in claimed.items():
        _check_claims(key, array, sent[key])
    return {key: decode_npy(claimed[key].data, key, expected) for key, expected in sent.items()}


def decode_parameters(claimed: Parameters, sent: Arrays) -> dict[str, NDArray[np.generic]]:
    """Return a client's arrays by the names of those ``sent``, in their order; the older interface sends no names.

    Raises:
        BadReplyError: they do not match, or cannot be decoded.
    """
    if claimed.tensor_type != SType.NUMPY:
        raise BadReplyError(f"its arrays are '{shown(claimed.tensor_type)}'; expected '{SType.NUMPY}'")
    names = [*sent, *(str(index) for index in range(len(sent), min(len(claimed.tensors), len(sent) + LISTED)))]
    check_names(dict.fromkeys(names[: len(claimed.tensors)]), sent)
    for (key, expected), payload in zip(sent.items(), claimed.tensors, strict=True):
        _check_length(key, payload, expected)
    payloads = zip(sent.items(), claimed.tensors, strict=True)
    return {key: decode_npy(payload, key, expected) for (key, expected), payload in payloads}


def decoded(arrays: ArrayRecord) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of a record of the server's own, by name."""
    return {key: array.numpy() for key, array in arrays.items()}


def check_names(claimed: Mapping[str, object], sent: Arrays) -> None:
    """Raise :class:`BadReplyError` unless a reply has the arrays that were sent and no others."""
    missing = [key for key in sent if key not in claimed]
    extra = _first(key for key in claimed if key not in sent)
    if missing or extra:
        counts = "" if len(claimed) == len(sent) else f" of {len(claimed)} where {len(sent)} were sent"
        raise BadReplyError(f"arrays do not match the model: missing {_first(missing)}, unexpected {extra}{counts}")


def decode_npy(payload: bytes, key: str, expected: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the array of an npy file that must have the dtype and shape of ``expected``, without copying it.

    Raises:
        BadReplyError: it is no such file.
    """
    _check_length(key, payload, expected)
    start, header = _header(key, payload)
    found = HEADER.fullmatch(header)
    if found is None:
        raise BadReplyError(f"array '{shown(key)}' has a header that cannot be read")
    descr, fortran, numbers = (part.decode("ascii", "replace") for part in found.groups())
    if descr != expected.dtype.str:
        found_dtype = DTYPES.get(descr, shown(descr))
        raise BadReplyError(f"array '{shown(key)}' has dtype {found_dtype}; expected {expected.dtype}")
    shape = tuple(int(number) for number in numbers.replace(" ", "").split(",") if number)
    if shape != expected.shape:
        raise BadReplyError(f"array '{shown(key)}' has shape {_short(shape)}; expected {expected.shape}")
    if len(payload) - start != expected.nbytes:
        raise BadReplyError(f"array '{shown(key)}' holds {len(payload) - start} bytes; expected {expected.nbytes}")
    values: NDArray[np.generic] = np.frombuffer(payload, expected.dtype, offset=start) if expected.size else expected
    if expected.dtype.kind == "b" and (values.view(np.uint8) > 1).any():
        raise BadReplyError(f"array '{shown(key)}' holds booleans that are neither true nor false")
    return values.reshape(shape, order="F" if fortran == "True" else "C")


def _check_claims(key: str, array: Array, expected: NDArray[np.generic]) -> None:
    if array.stype != SType.NUMPY:
        raise BadReplyError(f"array '{shown(key)}' is '{shown(array.stype)}'; expected '{SType.NUMPY}'")
    if array.shape != expected.shape:
        raise BadReplyError(f"array '{shown(key)}' has shape {_short(array.shape)}; expected {expected.shape}")
    if array.dtype != str(expected.dtype):
        raise BadReplyError(f"array '{shown(key)}' has dtype {shown(array.dtype)}; expected {expected.dtype}")
    _check_length(key, array.data, expected)


def _check_length(key: str, payload: object, expected: NDArray[np.generic]) -> None:
    if not isinstance(payload, bytes):
        raise BadReplyError(f"array '{shown(key)}' is {type(payload).__name__}; expected bytes")
    least = expected.nbytes + len(MAGIC)
    if not least <= len(payload) <= least + LONGEST_HEADER:
        raise BadReplyError(
            f"array '{shown(key)}' takes {len(payload)} bytes; expected {expected.nbytes} and a header of at most "
            f"{LONGEST_HEADER}"
        )


def _header(key: str, payload: bytes) -> tuple[int, bytes]:
    """Return where the values begin, and the header."""
    wide = 2 if payload[6:8] == b"\x01\x00" else 4
    if not payload.startswith(MAGIC) or payload[6:8] not in (b"\x01\x00", b"\x02\x00", b"\x03\x00"):
        raise BadReplyError(f"array '{shown(key)}' is no npy file")
    length = int.from_bytes(payload[8 : 8 + wide], "little")
    if length > min(LONGEST_HEADER, len(payload) - 8 - wide):
        raise BadReplyError(f"array '{shown(key)}' claims a header of {length} bytes")
    return 8 + wide + length, payload[8 + wide : 8 + wide + length]


def _first(keys: Iterable[str]) -> list[str]:
    return [shown(key) for key in islice(keys, LISTED)]


def _short(shape: tuple[int, ...]) -> str:
    return shown(str(shape[:8]) if len(shape) <= 8 else f"of {len(shape)} dimensions")
