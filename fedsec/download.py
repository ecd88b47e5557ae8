"""Fetching one reply from a SuperLink, within bounds that follow from the question.

A message lies on the SuperLink as a tree of objects. The objects are counted before one is read; none is read that is
longer than what is left of the allowance; and what the pieces of the arrays add up to is known before they are put
together, because an array may name one piece a million times.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

from flwr.app import Message, Metadata
from flwr.app.message import make_message
from flwr.common.constant import FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import get_object_head_values_from_object_content, iterate_object_tree
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from fedsec.refusal import RefusedReplyError
from fedsec.superlink import SuperLink

FACTOR = 2
"""A reply may hold so many times the bytes and objects of its question. An honest one holds about as many."""

SPARE_BYTES, SPARE_OBJECTS = 1 << 20, 64
"""And so many more, for metrics, names, and the heads of objects."""

BYTES_PER_OBJECT = 128
"""In the list of objects: a name is 64 characters, and each level above it adds some bytes."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many bytes and objects a reply may hold."""

    size: int
    objects: int


def allowance_for(question: Message) -> Allowance:
    """Return what a reply may hold: twice its question, and 1 MiB and 64 objects more."""
    if not question.has_content():
        return Allowance(SPARE_BYTES, SPARE_OBJECTS)
    records = question.content.values()
    arrays = [array for record in question.content.array_records.values() for array in record.values()]
    objects = sum(2 + len(array.data) // FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE for array in arrays)
    size = sum(record.count_bytes() for record in records)
    return Allowance(FACTOR * size + SPARE_BYTES, FACTOR * objects + SPARE_OBJECTS)


def find(link: SuperLink, message_id: str, allowance: Allowance) -> "Download | None":
    """Return the reply to a message, not yet read, or ``None`` while there is none.

    Raises:
        RefusedReplyError: it consists of more objects than it may, or the SuperLink cannot hand it out.
    """
    found = link.find(message_id, SPARE_BYTES + allowance.objects * BYTES_PER_OBJECT)
    return None if found is None else Download(link, *found, allowance)


class Download:
    """One reply, read object by object as the node sends them.

    Args:
        link: where it lies.
        metadata: what the SuperLink knows of it.
        tree: the names of its objects.
        allowance: what it may hold.

    Raises:
        RefusedReplyError: it consists of more objects than it may.
    """

    def __init__(self, link: SuperLink, metadata: Metadata, tree: ObjectTree, allowance: Allowance) -> None:
        self.metadata = metadata
        self._link, self._allowance, self._left = link, allowance, allowance.size
        names = [part.object_id for part in islice(iterate_object_tree(tree), allowance.objects + 1)]
        if len(names) > allowance.objects:
            raise RefusedReplyError(f"it consists of more than {allowance.objects} objects")
        self._missing = list(dict.fromkeys(names))
        self._contents: dict[str, bytes] = {}

    def advance(self) -> Message | None:
        """Read on; return the reply once it is complete, ``None`` while the node has not sent all of it.

        Raises:
            RefusedReplyError: it holds more than it may, or makes no sense.
        """
        try:
            while self._missing:
                content = self._link.read(self._missing[-1], self._left)
                if content is None:
                    return None
                self._left -= len(content)
                self._contents[self._missing.pop()] = content
            message = self._assembled()
        except RefusedReplyError:
            self._link.let_go(self.metadata.message_id)
            raise
        self._link.let_go(self.metadata.message_id)
        return message

    def _assembled(self) -> Message:
        try:
            size = assembled_size(self._contents)
            if size > self._allowance.size:
                raise RefusedReplyError(f"its arrays add up to {size} bytes; expected at most {self._allowance.size}")
            inside = inflate_object_from_contents(self.metadata.message_id, self._contents)
        except RefusedReplyError:
            raise
        except Exception as error:  # a node may send anything
            raise RefusedReplyError(f"its objects make no message ({type(error).__name__}: {error})") from None
        if not isinstance(inside, Message):
            raise RefusedReplyError(f"it is a {type(inside).__name__}; expected a message")
        # The SuperLink checks what it was told beside the message. What the message says of itself nobody has checked.
        claimed, known = inside.metadata, self.metadata
        if (claimed.run_id, claimed.src_node_id, claimed.reply_to_message_id) != (
            known.run_id,
            known.src_node_id,
            known.reply_to_message_id,
        ):
            raise RefusedReplyError(f"it calls itself node {claimed.src_node_id}'s, of run {claimed.run_id}")
        content = inside.content if inside.has_content() else None
        return make_message(self.metadata, content, inside.error if inside.has_error() else None)


def assembled_size(contents: Mapping[str, bytes]) -> int:
    """Return how many bytes the arrays among these objects take once their pieces are put together."""
    size = 0
    for content in contents.values():
        kind, children, _ = get_object_head_values_from_object_content(content)
        if kind == "Array":
            pieces = json.loads(content[content.index(b"\0") + 1 :])["arraychunk_ids"]
            size += sum(len(contents[children[piece]]) for piece in pieces)
    return size
