"""A reply on a SuperLink is fetched within its bounds, or refused before it is read; the others are not touched."""

import json
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.app.message import make_message
from flwr.clientapp import ClientApp
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.runtime_pb2 import PullAppMessagesResponse
from flwr.supercore.inflatable.inflatable_object import add_header_to_object_body
from flwr.superlink.grid import HttpGrid

from fedsec.download import SPARE_BYTES, SPARE_OBJECTS, allowance_for
from fedsec.engine.local import LocalGrid
from fedsec.guard import MOST_FAILURES, GuardedGrid
from fedsec.refusal import refusal
from tests.superlinks import FakeSuperLink, fake_superlink

HONEST, HOSTILE = 11, 12

HIGHEST_BYTES = 16 << 20
"""For two replies of at most 1.2 MiB each, and the server in this process, which copies what it hands out."""


@pytest.fixture
def link() -> Iterator[tuple[FakeSuperLink, HttpGrid]]:
    LocalGrid(ClientApp(), 1)  # Flower makes no message outside of a run
    with fake_superlink() as found:
        yield found


def model(scale: float = 0.0) -> ArrayRecord:
    return ArrayRecord({"weight": Array(np.full((100, 100), scale)), "bias": Array(np.full(100, scale))})


def questions() -> list[Message]:
    return [Message(RecordDict({"arrays": model()}), node, "train") for node in (HONEST, HOSTILE)]


def answer(question: Message, arrays: ArrayRecord | None = None) -> Message:
    metrics = MetricRecord({"num-examples": 10})
    return Message(RecordDict({"arrays": arrays or model(1.0), "metrics": metrics}), reply_to=question)


class NoJson(ArrayRecord):
    def deflate(self) -> bytes:
        return add_header_to_object_body(object_body=b"no JSON", obj=self)


class ManyTimes(Array):
    """An array that names its only piece a million times."""

    def deflate(self) -> bytes:
        body = {"dtype": self.dtype, "shape": self.shape, "stype": self.stype, "arraychunk_ids": [0] * 1_000_000}
        return add_header_to_object_body(object_body=json.dumps(body, separators=(",", ":")).encode(), obj=self)


NoJson.__qualname__, ManyTimes.__qualname__ = "ArrayRecord", "Array"


def record_of(arrays: dict[str, Array]) -> ArrayRecord:
    record = ArrayRecord()
    for key, array in arrays.items():
        record[key] = array
    return record


def many_times(question: Message) -> Message:
    array = Array(np.zeros(1000))
    return answer(question, record_of({"weight": ManyTimes(array.dtype, array.shape, array.stype, array.data)}))


def forged(question: Message) -> Message:
    reply = answer(question)
    reply.metadata.__dict__["_src_node_id"] = HONEST
    return reply


DEEDS: dict[str, tuple[Callable[[Message], Message], str]] = {
    "64 MiB": (lambda q: answer(q, record_of({"weight": Array(np.ones(8 << 20))})), "one of its objects would take"),
    "5,000 tiny arrays": (
        lambda q: answer(q, record_of({f"{i}": Array(np.full(1, i)) for i in range(5_000)})),
        "it consists of more than 72 objects",
    ),
    "a piece a million times": (many_times, "one of its objects would take 2000"),
    "no JSON": (lambda q: answer(q, NoJson({"w": Array(np.ones(3))})), "its objects make no message (JSONDecodeError"),
}  # fmt: skip


@pytest.mark.parametrize("deed", DEEDS)
def test_a_reply_beyond_its_bounds_is_refused_and_the_others_come(
    deed: str, link: tuple[FakeSuperLink, HttpGrid]
) -> None:
    fake, grid = link
    guarded, asked = GuardedGrid(grid), questions()
    ids = list(guarded.push_messages(asked))
    fake.put(answer(asked[0]))
    evil = fake.put(DEEDS[deed][0](asked[1]))
    del evil
    tracemalloc.start()
    replies = {reply.metadata.src_node_id: reply for reply in guarded.pull_messages(ids)}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert replies[HONEST].content["arrays"]["weight"].numpy().max() == 1.0
    assert DEEDS[deed][1] in (refusal(replies[HOSTILE]) or "")
    assert peak < HIGHEST_BYTES


def test_of_a_million_tiny_arrays_not_even_the_names_are_read(
    link: tuple[FakeSuperLink, HttpGrid], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, grid = link
    guarded, asked = GuardedGrid(grid), questions()
    ids = list(guarded.push_messages(asked))
    for question in asked:
        fake.put(answer(question))
    evil, honestly = asked[1].metadata.message_id, fake.answer
    about, tree = fake.replies.pop(evil)
    tree.MergeFromString(ObjectTree(children=[ObjectTree(object_id="0" * 64)]).SerializeToString() * 1_000_000)
    listed = PullAppMessagesResponse(messages_list=[about], message_object_trees=[tree]).SerializeToString()

    def reply_to(path: str, body: bytes) -> bytes:
        return listed if path.endswith("pull-messages") and evil.encode() in body else honestly(path, body)

    monkeypatch.setattr(fake, "answer", reply_to)
    tracemalloc.start()
    replies = {reply.metadata.src_node_id: reply for reply in guarded.pull_messages(ids)}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert replies[HONEST].has_content()
    assert "the list of its objects would take 68" in (refusal(replies[HOSTILE]) or "")
    assert peak < 4 << 20


def test_what_the_pieces_add_up_to_counts(link: tuple[FakeSuperLink, HttpGrid]) -> None:
    fake, grid = link
    guarded, asked = GuardedGrid(grid), questions()
    ids = list(guarded.push_messages(asked))
    array = Array(np.zeros(10_000))

    class Twenty(Array):
        def deflate(self) -> bytes:
            body = {"dtype": self.dtype, "shape": self.shape, "stype": self.stype, "arraychunk_ids": [0] * 20}
            return add_header_to_object_body(object_body=json.dumps(body).encode(), obj=self)

    Twenty.__qualname__ = "Array"
    fake.put(answer(asked[1], record_of({"weight": Twenty(array.dtype, array.shape, array.stype, array.data)})))
    [reply] = guarded.pull_messages(ids)
    assert "its arrays add up to 160" in (refusal(reply) or "")


def test_a_message_that_says_it_is_another_nodes_is_refused(link: tuple[FakeSuperLink, HttpGrid]) -> None:
    fake, grid = link
    guarded, asked = GuardedGrid(grid), questions()
    ids = list(guarded.push_messages(asked))
    fake.put(forged(asked[1]))
    about, tree = fake.replies[asked[1].metadata.message_id]
    about.metadata.src_node_id = HOSTILE  # which is all that the SuperLink looks at
    fake.replies[asked[1].metadata.message_id] = (about, tree)
    [reply] = guarded.pull_messages(ids)
    assert reply.metadata.src_node_id == HOSTILE
    assert refusal(reply) == f"refused: it calls itself node {HONEST}'s, of run 1"


def test_an_object_of_unannounced_length_is_read_up_to_the_bound(
    link: tuple[FakeSuperLink, HttpGrid],
) -> None:
    fake, grid = link
    fake.announces = False
    guarded, asked = GuardedGrid(grid), questions()
    ids = list(guarded.push_messages(asked))
    fake.put(answer(asked[1], record_of({"weight": Array(np.ones(8 << 20))})))
    [reply] = guarded.pull_messages(ids)
    assert "or more bytes; expected at most" in (refusal(reply) or "")


def test_a_reply_that_comes_in_parts_is_put_together_over_several_looks(link: tuple[FakeSuperLink, HttpGrid]) -> None:
    fake, grid = link
    guarded, asked = GuardedGrid(grid), questions()
    ids = list(guarded.push_messages(asked))
    fake.put(answer(asked[0]))
    late = {key: fake.contents[key] for key in list(fake.contents)[:3]}
    fake.contents |= dict.fromkeys(late, b"")
    assert list(guarded.pull_messages(ids)) == []
    fake.contents |= late
    [reply] = guarded.pull_messages(ids)
    assert reply.content["arrays"]["bias"].numpy().shape == (100,)
    assert len(fake.read) == len(fake.contents) + 1, "one object was asked for twice"


def test_waiting_ends_when_its_time_is_over_and_holds_nothing_back(link: tuple[FakeSuperLink, HttpGrid]) -> None:
    _, grid = link
    guarded = GuardedGrid(grid)
    assert list(guarded.send_and_receive(questions(), timeout=0.2)) == []
    assert guarded._questions == {}
    assert guarded._downloads == {}


def test_a_superlink_that_fails_now_and_then_is_asked_again(link: tuple[FakeSuperLink, HttpGrid]) -> None:
    fake, grid = link
    guarded, asked = GuardedGrid(grid), questions()
    ids = list(guarded.push_messages(asked))
    fake.put(answer(asked[0]))
    fake.fails = 3  # the first look at both, and the second at one
    assert list(guarded.pull_messages(ids)) == []
    looks = [list(guarded.pull_messages(ids)) for _ in range(3)]
    [reply] = [reply for look in looks for reply in look]
    assert reply.has_content()


def test_one_that_always_fails_costs_the_reply_and_not_the_run(link: tuple[FakeSuperLink, HttpGrid]) -> None:
    fake, grid = link
    guarded, asked = GuardedGrid(grid), questions()[:1]
    ids = list(guarded.push_messages(asked))
    fake.fails = 1000
    looks = [list(guarded.pull_messages(ids)) for _ in range(MOST_FAILURES)]
    assert [len(look) for look in looks] == [0] * (MOST_FAILURES - 1) + [1]
    assert refusal(looks[-1][0]) == "refused: the SuperLink answers 500, 10 times"


def test_an_allowance_follows_from_the_question() -> None:
    LocalGrid(ClientApp(), 1)
    empty = allowance_for(Message(RecordDict(), 1, "query.whoami"))
    assert (empty.size, empty.objects) == (SPARE_BYTES, SPARE_OBJECTS)
    big: Any = allowance_for(Message(RecordDict({"a": ArrayRecord({"w": Array(np.zeros(2 << 20))})}), 1, "train"))
    assert 2 * (16 << 20) < big.size - SPARE_BYTES < 2 * (16 << 20) + 1024
    assert big.objects == SPARE_OBJECTS + 2 * 5  # the array, and four pieces of at most 5 MiB


def test_a_message_is_what_the_superlink_knows_it_to_be(link: tuple[FakeSuperLink, HttpGrid]) -> None:
    fake, grid = link
    guarded, asked = GuardedGrid(grid), questions()
    ids = list(guarded.push_messages(asked))
    sent = fake.put(answer(asked[0]))
    [reply] = guarded.pull_messages(ids)
    assert vars(reply.metadata) == vars(make_message(sent.metadata, content=sent.content).metadata)
