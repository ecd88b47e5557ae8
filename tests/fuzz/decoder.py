"""Cases for what reads replies: nothing but a refusal may come of them."""

import io
import random
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common import Parameters
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from hypothesis import strategies as st

from fedsec.download import Download, allowance_for
from fedsec.engine.local import LocalGrid
from fedsec.refusal import RefusedReplyError
from fedsec.strategies.decoding import decode_arrays, decode_npy, decode_parameters
from fedsec.strategies.intake import Intake, Limits, Reply, admit
from fedsec.strategies.layout import BadReplyError, Layout
from fedsec.strategies.replies import mean_of_common_metrics, reply_from_message, usable_evaluations
from tests.fuzz.mutation import mutated

SENT = {
    "conv.weight": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),
    "bias": np.zeros(4, np.float64),
    "norm.running_var": np.ones(4, np.float32),
    "norm.num_batches_tracked": np.array(7, np.int64),
    "mask": np.array([True, False]),
    "nothing": np.empty((0, 3), np.float16),
}
LAYOUT, LIMITS = Layout(SENT), Limits()
ASKED = 11


def saved(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


PAYLOADS = [saved(array) for array in SENT.values()] + [
    saved(array)
    for array in (
        np.asfortranarray(SENT["conv.weight"]),
        np.ones((3, 4), ">f4"),
        np.array([None]),
        np.ones(12, "f4,f4"),
    )
]

numbers = st.one_of(
    st.integers(), st.floats(), st.integers(10**300, 10**310), st.lists(st.floats(), max_size=3), st.just(10)
)
names = st.one_of(st.sampled_from(sorted(SENT)), st.text(max_size=20))
shapes = st.one_of(
    st.sampled_from([array.shape for array in SENT.values()]), st.lists(st.integers(-9, 10**18), max_size=5).map(tuple)
)
dtypes = st.one_of(
    st.sampled_from(["float32", "float64", "int64", "bool", "float16", "object", "<f4"]), st.text(max_size=8)
)
stypes = st.one_of(st.just("numpy.ndarray"), st.text(max_size=12))
bodies = st.one_of(
    st.sampled_from(PAYLOADS), st.binary(max_size=300), st.integers(0, 200).map(lambda n: b"\x93NUMPY" + bytes(n))
)
headers = st.one_of(
    st.builds(
        lambda descr, order, shape, rest: f"{{'descr': {descr!r}, 'fortran_order': {order}, 'shape': {shape}, }}{rest}",
        st.sampled_from(["<f4", "<f8", "|b1", "|O", "<i8", "<f2", "x"]), st.booleans(), shapes,
        st.sampled_from(["\n", "", "  \n", "\n\n"]),
    ),
    st.text(max_size=80),
)  # fmt: skip
files = st.builds(
    lambda version, header, body: (
        b"\x93NUMPY" + bytes([version, 0]) + len(header.encode()).to_bytes(2 if version == 1 else 4, "little")
        + header.encode() + body
    ),
    st.integers(0, 4), headers,
    st.one_of(st.binary(max_size=64), st.sampled_from([bytes(48), bytes(4), bytes(8), b"\2\1"])),
)  # fmt: skip
arrays = st.builds(Array, dtypes, shapes, stypes, st.one_of(bodies, files))
right = st.fixed_dictionaries({key: st.just(Array(np.asarray(array))) for key, array in SENT.items()})
some = st.dictionaries(names, arrays, max_size=2)
records = st.one_of(
    st.dictionaries(names, arrays, max_size=7), st.builds(lambda whole, part: whole | part, right, some)
)
metrics = st.dictionaries(
    st.one_of(st.sampled_from(["num-examples", "loss"]), st.text(max_size=12)), numbers, max_size=4
)
messages = st.tuples(records, metrics, st.booleans())


def judge(case: tuple[dict[str, Array], dict[str, Any], bool]) -> bool:
    """Read one reply in every way that there is; tell whether it is one to use."""
    claimed, numbers_of, known = case
    local()
    record = ArrayRecord()
    for key, array in claimed.items():
        record[key] = array
    said = {"num-examples": 10} | numbers_of if known else numbers_of
    try:
        content = RecordDict({"arrays": record, "metrics": MetricRecord(said)})
    except (TypeError, ValueError):
        return False  # Flower makes no such record
    message = Message(content, reply_to=Message(RecordDict(), ASKED, "train"))
    reply = reply_from_message(message, "num-examples", SENT)
    good = False
    if isinstance(reply, Reply):
        row, side = np.empty(LAYOUT.width, np.float32), np.empty(LAYOUT.side_width)
        good = refusing(BadReplyError, lambda: admit(reply, LAYOUT, LIMITS, row, side))
        Intake().collect([reply], LAYOUT, LIMITS)
    contents, _ = usable_evaluations([message], "num-examples", {ASKED})
    mean_of_common_metrics([*contents, content], "num-examples")
    refusing(BadReplyError, lambda: decode_arrays(claimed, SENT))
    refusing(
        BadReplyError, lambda: decode_parameters(Parameters([a.data for a in claimed.values()], "numpy.ndarray"), SENT)
    )
    return good


def judge_damaged(rng: random.Random) -> bool:
    """Damage a payload, or an object of a whole message, and read it; tell whether it still can be."""
    local()
    if rng.random() < 0.7:
        key = rng.choice(sorted(SENT))
        payload = mutated(saved(SENT[key]), rng, rng.choice(PAYLOADS))
        return refusing(BadReplyError, lambda: decode_npy(payload, key, SENT[key]))
    about, tree, contents = whole_message()
    damaged = dict(contents)
    for victim in rng.sample(sorted(contents), rng.choice([1, 1, 2])):
        damaged[victim] = mutated(contents[victim], rng, contents[rng.choice(sorted(contents))])
    link = SimpleNamespace(read=lambda name, at_most: damaged[name] or None, let_go=lambda name: None)
    question = Message(
        RecordDict({"arrays": ArrayRecord({k: Array(np.asarray(a)) for k, a in SENT.items()})}), 11, "train"
    )
    download = Download(link, about, tree, allowance_for(question))  # type: ignore[arg-type]
    return refusing(RefusedReplyError, download.advance)


def refusing(own: type[Exception], act: Any) -> bool:
    """Call ``act``; tell whether it went through. An error of our own is an answer, any other is a find."""
    try:
        act()
        return True
    except own as error:
        if not str(error).isprintable() and own is BadReplyError:
            raise AssertionError(f"a reason that does not print: {error!r}") from error
        return False


@cache
def local() -> LocalGrid:
    """Let Flower make messages in this process."""
    return LocalGrid(ClientApp(), 1)


@cache
def whole_message() -> tuple[Any, Any, dict[str, bytes]]:
    """Return an honest reply as it lies on a SuperLink: metadata, tree and contents of its objects."""
    record = ArrayRecord({key: Array(np.asarray(array)) for key, array in SENT.items()})
    content = RecordDict({"arrays": record, "metrics": MetricRecord({"num-examples": 10, "loss": 0.5})})
    message = Message(content, reply_to=Message(RecordDict(), ASKED, "train"))
    contents = {key: part.deflate() for key, part in get_all_nested_objects(message).items()}
    message.metadata.__dict__["_message_id"] = message.object_id
    return message.metadata, get_object_tree(message), contents
