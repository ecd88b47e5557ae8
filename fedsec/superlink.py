"""A SuperLink, asked for one thing at a time and listened to only so long.

Flower's HttpGrid reads all objects of all replies into memory before anything is looked at. What is used of Flower
here to do without is private to it and used nowhere else; tests/test_download.py fails when it changes.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, cast

import httpx
from flwr.app import Metadata
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.common.serde_utils import metadata_from_proto
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree, PullObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import PullAppMessagesRequest

from fedsec.refusal import BusyError, RefusedReplyError

if TYPE_CHECKING:  # what a server on a SuperLink has loaded anyway, and others need not
    from flwr.supercore.runtime import RuntimeHttpClient
    from flwr.superlink.grid import HttpGrid

AROUND_BODY = 1024
"""Bytes around an object on the wire."""

AT_MOST: ContextVar[int | None] = ContextVar("AT_MOST", default=None)
"""How long the body of this thread's next response may be; the heartbeats of other threads are not bounded."""


class SuperLink:
    """The SuperLink of a run.

    Args:
        grid: Flower's connection to it.
    """

    def __init__(self, grid: "HttpGrid") -> None:
        self._grid, self._node = grid, Node(node_id=SUPERLINK_NODE_ID)

    def find(self, message_id: str, at_most: int) -> tuple[Metadata, ObjectTree] | None:
        """Return what the SuperLink knows of the reply to a message: not a byte of what the reply holds.

        Returns:
            its metadata, which the SuperLink compared with the question, and the names of its objects; ``None``
            while there is no reply.

        Raises:
            RefusedReplyError: this takes more than ``at_most`` bytes, or the SuperLink cannot hand it out.
            BusyError: the SuperLink failed.
        """
        with _listening(at_most, "the list of its objects"):
            answer = self._client().PullMessages(PullAppMessagesRequest(message_ids=[message_id]))
        for message, tree in zip(answer.messages_list, answer.message_object_trees, strict=True):
            if message.metadata.reply_to_message_id == message_id:
                return metadata_from_proto(message.metadata), tree
        return None

    def read(self, object_id: str, at_most: int) -> bytes | None:
        """Return an object's content, or ``None`` while the node has not sent it.

        Raises:
            RefusedReplyError: it is longer than ``at_most``, or the SuperLink has it no more.
            BusyError: the SuperLink failed.
        """
        request = PullObjectRequest(node=self._node, run_id=self._grid.run.run_id, object_id=object_id)
        with _listening(at_most + AROUND_BODY, "one of its objects"):
            answer = self._client().PullObject(request)
        if not answer.object_found:
            raise RefusedReplyError("an object of it is gone; the node may not have sent it in time")
        return answer.object_content if answer.object_available else None

    def let_go(self, message_id: str) -> None:
        """Let the SuperLink delete a reply, as it does anyway at the end of the run."""
        request = ConfirmMessageReceivedRequest(
            node=self._node, run_id=self._grid.run.run_id, message_object_id=message_id
        )
        with suppress(httpx.HTTPError, ValueError):
            self._client().ConfirmMessageReceived(request)

    def _client(self) -> "RuntimeHttpClient":
        """Return Flower's client, whose responses are bounded from now on where a bound is set."""
        client = self._grid._runtime_client
        hooks = client._client.event_hooks
        if _bound not in hooks["response"]:
            client._client.event_hooks = {
                "request": [*hooks["request"], _ask_for_plain_body],
                "response": [*hooks["response"], _bound],
            }
        return client


class _TooLongError(Exception):
    """A body is longer than it may be; the message says how long."""


class _BoundedStream(httpx.SyncByteStream):
    """A body that ends in an error where it becomes too long."""

    def __init__(self, stream: httpx.SyncByteStream, at_most: int) -> None:
        self._stream, self._at_most = stream, at_most

    def __iter__(self) -> Iterator[bytes]:
        read = 0
        for part in self._stream:
            read += len(part)
            if read > self._at_most:
                raise _TooLongError(f"{read} or more")
            yield part

    def close(self) -> None:
        self._stream.close()


@contextmanager
def _listening(at_most: int, to: str) -> Iterator[None]:
    """Bound the next response; what goes wrong with it costs this reply, and no other."""
    token = AT_MOST.set(at_most)
    try:
        yield
    except _TooLongError as error:
        raise RefusedReplyError(f"{to} would take {error} bytes; expected at most {at_most}") from None
    except httpx.HTTPStatusError as error:
        raise BusyError(f"the SuperLink answers {error.response.status_code}") from error
    except Exception as error:
        raise RefusedReplyError(f"the SuperLink cannot hand it out ({type(error).__name__})") from error
    finally:
        AT_MOST.reset(token)


def _ask_for_plain_body(request: httpx.Request) -> None:
    if AT_MOST.get() is not None:
        request.headers["accept-encoding"] = "identity"  # a compressed body may be longer than it looks


def _bound(response: httpx.Response) -> None:
    """Let httpx read no body that is longer than what may be read, be its length announced or not."""
    at_most = AT_MOST.get()
    if at_most is None:
        return
    if response.headers.get("content-encoding", "identity") != "identity":
        raise _TooLongError("an unknown number of compressed")
    announced = response.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > at_most:
        raise _TooLongError(announced)
    response.stream = _BoundedStream(cast(httpx.SyncByteStream, response.stream), at_most)
