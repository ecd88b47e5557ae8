"""What a hostile client may send where a model's arrays and a few numbers belong."""

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

from tests.strategies.toy import Arrays

CREATED = "created-by-a-pickle"
"""File that unpickling would create in the working folder."""


class Exploding:
    """Creates a file where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(CREATED),)


def npy(
    descr: str = "'<f4'", shape: str = "(3, 4)", body: bytes = b"\0" * 48, *, fortran: str = "False",
    magic: bytes = b"\x93NUMPY\x01\x00", claimed: int | None = None,
) -> bytes:  # fmt: skip
    """Return an npy file with a header of one's own."""
    header = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n".encode()
    width = 2 if magic.endswith(b"\x01\x00") else 4
    length = len(header) if claimed is None else claimed
    return magic + length.to_bytes(width, "little") + header + body


def saved(array: Any, **options: Any) -> bytes:
    """Return what numpy writes for an array."""
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def zipped() -> bytes:
    """Return 16 MiB of zeros as a compressed npz of 16 kB."""
    file = io.BytesIO()
    np.savez_compressed(file, weight=np.zeros(4 << 20, np.float32))
    return file.getvalue()


PAYLOADS: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "takes 0 bytes"),
    "a pickle": (lambda: pickle.dumps(Exploding()), "is no npy file"),
    "a pickle as long as the array": (lambda: pickle.dumps(Exploding()).ljust(176, b"."), "is no npy file"),
    "a pickle in an npy file": (lambda: saved(np.array([Exploding()]), allow_pickle=True), "dtype"),
    "objects": (lambda: npy("'|O'", body=pickle.dumps([Exploding()] * 12)), "dtype |O"),
    "fields": (lambda: npy("[('a', '<f4')]"), "header that cannot be read"),
    "code in the header": (lambda: npy(f"__import__('os').mkdir('{CREATED}')"), "header that cannot be read"),
    "a zip file": (zipped, "takes"),
    "text": (lambda: saved(np.full((3, 4), "x")), "dtype <U1"),
    "another byte order": (lambda: saved(np.ones((3, 4), ">f4")), "dtype >f4; expected float32"),
    "eight bytes for four": (lambda: saved(np.ones((3, 4))), "dtype float64; expected float32"),
    "10^15 values in the header": (lambda: npy(shape=f"({10**15},)"), "shape (1000000000000000,); expected (3, 4)"),
    "10^30 values in the header": (lambda: npy(shape=f"({10**30},)"), "header that cannot be read"),
    "64 dimensions": (lambda: npy(shape=f"({'1, ' * 64})"), "shape of 64 dimensions"),
    "negative dimensions": (lambda: npy(shape="(-3, -4)"), "header that cannot be read"),
    "no order": (lambda: npy(fortran="1"), "header that cannot be read"),
    "a header without end": (lambda: npy(claimed=2**16 - 1), "claims a header of 65535 bytes"),
    "a header of 4 GB": (lambda: npy(magic=b"\x93NUMPY\x03\x00", claimed=2**32 - 1), "claims a header of 4294967295"),
    "a version to come": (lambda: npy(magic=b"\x93NUMPY\x09\x00"), "is no npy file"),
    "nothing behind the header": (lambda: npy(body=b""), "holds 0 bytes; expected 48"),
    "a value too few": (lambda: npy(body=b"\0" * 44), "holds 44 bytes; expected 48"),
    "a value too many": (lambda: npy(body=b"\0" * 52), "holds 52 bytes; expected 48"),
    "8 MiB": (lambda: npy(body=b"\0" * (8 << 20)), "takes 8388"),
}
"""Bytes in place of the npy file of a (3, 4) float32 array, and what the record must say of them."""


def renamed(*names: str) -> Callable[[dict[str, Array]], dict[str, Array]]:
    return lambda arrays: dict(zip((*names, *list(arrays)[len(names) :]), arrays.values(), strict=True))


def claiming(**claims: Any) -> Callable[[dict[str, Array]], dict[str, Array]]:
    """Return a change of what the first array says of itself."""

    def change(arrays: dict[str, Array]) -> dict[str, Array]:
        for name, value in claims.items():
            setattr(next(iter(arrays.values())), name, value)
        return arrays

    return change


RECORDS: dict[str, tuple[Callable[[dict[str, Array]], dict[str, Array]], str]] = {
    "no arrays": (lambda arrays: {}, "missing ['weight', 'bias', 'norm.running_var']"),
    "20,000 tiny arrays": (
        lambda arrays: {f"{i}": arrays["bias"] for i in range(20_000)},
        "of 20000 where 4 were sent",
    ),
    "names that are paths": (
        renamed("../../etc/passwd", "/etc/shadow"),
        "unexpected ['../../etc/passwd', '/etc/shadow']",
    ),
    "NUL in a name": (renamed("weight\0"), r"unexpected ['weight\\x00']"),
    "a name that moves the cursor": (
        renamed("\x1b[2J\nround 9: MA 99.9"),
        r"unexpected ['\\x1b[2J\\nround 9: MA 99.9']",
    ),
    "a name that reads backwards": (renamed("\u202eweight"), r"unexpected ['\\u202eweight']"),
    "a name of 1 MB": (renamed("k" * 10**6), "unexpected ['kkkkkkkk"),
    "another serialisation": (claiming(stype="torch.pickle"), "is 'torch.pickle'; expected 'numpy.ndarray'"),
    "10^15 values claimed": (claiming(shape=(10**15,)), "shape (1000000000000000,); expected (3, 4)"),
    "another dtype claimed": (claiming(dtype="object"), "dtype object; expected float32"),
    "text for bytes": (claiming(data="0.5"), "is str; expected bytes"),
}
"""Changes of the honest arrays, and what the record must say of them."""


def with_metrics(**metrics: Any) -> Callable[[RecordDict, Message], Message]:
    def answer(honest: RecordDict, question: Message) -> Message:
        return Message(RecordDict({**honest, "metrics": MetricRecord(metrics)}), reply_to=question)

    return answer


def with_records(change: Callable[[RecordDict], dict[str, Any]]) -> Callable[[RecordDict, Message], Message]:
    return lambda honest, question: Message(RecordDict(change(honest)), reply_to=question)


def failing(reason: str) -> Callable[[RecordDict, Message], Message]:
    return lambda honest, question: Message(Error(code=2, reason=reason), reply_to=question)


def without_content(honest: RecordDict, question: Message) -> Message:
    answer = Message(RecordDict(), reply_to=question)
    answer.__dict__["_content"] = None
    return answer


MESSAGES: dict[str, tuple[Callable[[RecordDict, Message], Message], str]] = {
    "neither content nor error": (without_content, "cannot be decoded (ValueError"),
    "no records": (with_records(lambda honest: {}), "holds 0 array and 0 metric records"),
    "arrays twice": (
        with_records(lambda honest: {**honest, "b": honest["arrays"]}), "holds 2 array and 1 metric records"
    ),
    "records in records": (
        with_records(lambda honest: {f"../{i}": ConfigRecord({"arrays": b"\0" * 100}) for i in range(1000)}),
        "holds 0 array and 0 metric records",
    ),
    "text for numbers": (
        with_records(lambda honest: {**honest, "metrics": ConfigRecord({"num-examples": "10", "loss": "low"})}),
        "holds 1 array and 0 metric records",
    ),
    "no number of examples": (with_metrics(loss=0.1), "its metrics have no 'num-examples'"),
    "NaN examples": (with_metrics(**{"num-examples": float("nan")}), "claims nan examples"),
    "10^5000 examples": (with_metrics(**{"num-examples": 10**5000}), "claims a whole number of 16610 bits"),
    "a list of examples": (with_metrics(**{"num-examples": [1] * 100_000}), "claims a list as its examples"),
    "an error that forges a log": (
        failing("a\n\x1b[31mERROR\x1b[0m: round 9 \u202e"), r"error 2: \x1b[31mERROR\x1b[0m: round 9 \u202e"
    ),
    "an error of 10 MB": (failing("e" * 10**7), "error 2: eeeee"),
}  # fmt: skip
"""Whole answers from an honest one, and what the record must say of them."""


def honest_record(arrays: Arrays) -> dict[str, Array]:
    """Return arrays as a client packs them."""
    return {key: Array(np.asarray(array)) for key, array in arrays.items()}


def spoilt(case: str, honest: dict[str, Array], question: Message) -> Message:
    """Return the answer of a hostile client, made from that of an honest one."""
    metrics = MetricRecord({"num-examples": 10, "loss": 0.1})
    if case in MESSAGES:
        return MESSAGES[case][0](RecordDict({"arrays": ArrayRecord(honest), "metrics": metrics}), question)
    if case in PAYLOADS:
        honest["weight"].data = PAYLOADS[case][0]()
        arrays = honest
    else:
        arrays = RECORDS[case][0](honest)
    record = ArrayRecord()
    for key, array in arrays.items():
        record[key] = array
    return Message(RecordDict({"arrays": record, "metrics": metrics}), reply_to=question)


REASONS = {name: reason for cases in (PAYLOADS, RECORDS, MESSAGES) for name, (_, reason) in cases.items()}
"""Every way to be hostile, and what the record must say of it."""
