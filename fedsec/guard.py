"""A Grid that takes no more from a node than an answer to its question can hold, and only that node's own answer."""

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from logging import WARNING

from flwr.app import Error, Message, Metadata, RecordDict
from flwr.app.message import make_message
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.common.logger import log
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from fedsec.download import Allowance, Download, allowance_for, find
from fedsec.refusal import REFUSED, BusyError, RefusedReplyError
from fedsec.superlink import SuperLink

POLL_SECONDS = 0.5
POLL_SHARE = 0.2
MOST_FAILURES = 10
"""A server that waits asks at most so often, and spends at most this share of its time on asking. Where the SuperLink
fails at a question (its database may be locked while it takes in a large reply), it is asked so many times."""


@dataclass(frozen=True, slots=True)
class Question:
    """A message that a node was sent: who must answer it, in which run, and how much the answer may hold."""

    node_id: int
    run_id: int
    message_type: str
    allowance: Allowance


class GuardedGrid(Grid):
    """A Grid that hands on a node's answer only if it belongs to the question and is within bounds.

    What it does not hand on, it replaces by an error message from the node that was asked, which
    :func:`~fedsec.refusal.refusal` recognises. It never raises because of what a node sent, and the answer of one
    node never costs that of another.

    On a SuperLink each reply is fetched on its own and stays in its bounds (:mod:`fedsec.download`): twice the
    bytes and objects of what the node was sent, and some more. So a round holds at most that for each node, and once
    more for the reply that is being put together. On other grids Flower has the whole reply in memory
    before anybody is asked; there only the identity is checked.

    Args:
        grid: Flower's grid.

    Attributes:
        inner: Flower's grid.
    """

    def __init__(self, grid: Grid) -> None:
        self.inner: Grid = grid.inner if isinstance(grid, GuardedGrid) else grid
        self._link = link_of(self.inner)
        self._questions: dict[str, Question] = {}
        self._downloads: dict[str, Download] = {}
        self._failures: dict[str, int] = {}

    def set_run(self, run: Run) -> None:
        """Set the run."""
        self.inner.set_run(run)

    @property
    def run(self) -> Run:
        """Run information."""
        return self.inner.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Create a message, as older server code asks a Grid to."""
        return self.inner.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        """Return the identities of the nodes."""
        return self.inner.get_node_ids()

    def get_nodes(self) -> Iterable[NodeInfo]:
        """Return the nodes."""
        return self.inner.get_nodes()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages and remember whom; return the ids under which the replies are found."""
        messages = list(messages)
        ids = list(self.inner.push_messages(messages))
        self._remember(messages)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that have come to these messages."""
        if self._link is None:
            return self._own(self.inner.pull_messages(message_ids))
        replies = (self._fetch(self._link, message_id) for message_id in list(message_ids))
        return [reply for reply in replies if reply is not None]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send messages and return the replies that come within ``timeout`` seconds; ``None`` waits for all."""
        if self._link is None:
            messages = list(messages)
            replies = list(self.inner.send_and_receive(messages, timeout=timeout))
            self._remember(messages)
            return self._own(replies)
        deadline = time.monotonic() + timeout if timeout is not None else float("inf")
        waiting = dict.fromkeys(message_id for message_id in self.push_messages(messages) if message_id)
        del messages
        replies = []
        while waiting and time.monotonic() < deadline:
            start = time.monotonic()
            for reply in self.pull_messages(waiting):
                waiting.pop(reply.metadata.reply_to_message_id, None)
                replies.append(reply)
            spent = time.monotonic() - start
            if waiting:
                time.sleep(max(0.0, min(max(POLL_SECONDS, spent / POLL_SHARE - spent), deadline - time.monotonic())))
        for message_id in waiting:  # what has come of their replies is held no longer
            self._forget(message_id)
        return replies

    def _remember(self, messages: Iterable[Message]) -> None:
        for message in messages:
            about = message.metadata
            self._questions[about.message_id] = Question(
                about.dst_node_id, about.run_id, about.message_type, allowance_for(message)
            )

    def _forget(self, message_id: str) -> None:
        self._questions.pop(message_id, None)
        self._downloads.pop(message_id, None)
        self._failures.pop(message_id, None)

    def _fetch(self, link: SuperLink, message_id: str) -> Message | None:
        """Return the reply to a message, an error message in its place, or ``None`` while it is not there."""
        question = self._questions.get(message_id)
        if question is None:
            return None
        try:
            download = self._downloads.get(message_id) or find(link, message_id, question.allowance)
            if download is None:
                return None
            check_identity(download.metadata, message_id, question)
            self._downloads[message_id] = download
            reply = download.advance()
            if reply is None:
                return None
            check_identity(reply.metadata, message_id, question)
        except BusyError as error:
            self._failures[message_id] = self._failures.get(message_id, 0) + 1
            if self._failures[message_id] < MOST_FAILURES:
                return None
            reply = refused(message_id, question, f"{error}, {MOST_FAILURES} times")
        except RefusedReplyError as error:
            reply = refused(message_id, question, str(error))
        self._forget(message_id)
        return from_asked(reply, message_id, question)

    def _own(self, replies: Iterable[Message]) -> list[Message]:
        """Return the replies that belong to questions, and errors in place of those that only say so."""
        kept = []
        for reply in replies:
            message_id = reply.metadata.reply_to_message_id
            question = self._questions.get(message_id)
            if question is None:
                log(WARNING, "a reply was left out that answers no question of this run")
                continue
            try:
                check_identity(reply.metadata, message_id, question)
            except RefusedReplyError as error:
                reply = refused(message_id, question, str(error))
            kept.append(from_asked(reply, message_id, question))
        for reply in kept:
            self._forget(reply.metadata.reply_to_message_id)
        return kept


def link_of(grid: Grid) -> SuperLink | None:
    """Return the SuperLink behind a grid, ``None`` where there is none.

    Flower's module is not imported for it: a grid of its classes cannot exist before somebody has, and it brings
    a web server along.
    """
    module = sys.modules.get("flwr.superlink.grid")
    return SuperLink(grid) if module is not None and isinstance(grid, module.HttpGrid) else None


def check_identity(metadata: Metadata, message_id: str, question: Question) -> None:
    """Raise :class:`RefusedReplyError` unless a reply is the asked node's answer to the question, in its run.

    Errors of the SuperLink itself, such as that a node is gone, come from no node.
    """
    if metadata.run_id != question.run_id:
        raise RefusedReplyError(f"it belongs to run {metadata.run_id}; expected {question.run_id}")
    if metadata.reply_to_message_id != message_id:
        raise RefusedReplyError("it answers another question")
    if metadata.src_node_id not in (question.node_id, SUPERLINK_NODE_ID):
        raise RefusedReplyError(f"it says that it comes from node {metadata.src_node_id}")


def from_asked(reply: Message, message_id: str, question: Question) -> Message:
    """Return a reply in the name of the node that was asked: an error of the SuperLink is about that node."""
    if reply.metadata.src_node_id == question.node_id:
        return reply
    if reply.has_error():
        return _error(reply.error, message_id, question)
    return refused(message_id, question, "it says that it comes from the SuperLink")


def refused(message_id: str, question: Question, reason: str) -> Message:
    """Return the error message that stands for a reply that is not handed on."""
    return _error(Error(code=REFUSED, reason=f"refused: {reason}"), message_id, question)


def _error(error: Error, message_id: str, question: Question) -> Message:
    metadata = Metadata(
        run_id=question.run_id,
        message_id="",
        src_node_id=question.node_id,
        dst_node_id=SUPERLINK_NODE_ID,
        reply_to_message_id=message_id,
        group_id="",
        created_at=time.time(),
        ttl=1.0,
        message_type=question.message_type,
    )
    return make_message(metadata, error=error)
