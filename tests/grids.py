"""Grids whose nodes answer who they are in ways of their own: late, lost, one after the other, or not any more."""

from collections.abc import Callable, Iterable
from typing import Any

from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode

from fedsec.clients import make_client_app
from fedsec.engine.local import FIRST_NODE, LocalGrid
from fedsec.scenario import code_hash

Answer = Callable[[int], dict[str, Any] | None]


def sane(partition: int) -> dict[str, Any]:
    """Return what a node with this partition says of itself."""
    return {"partition-id": partition, "code": code_hash(), "version": "1", "class-counts": [partition, 5]}


def app_of(answer: Answer) -> ClientApp:
    """Return clients that answer ``answer(partition)`` when they are asked who they are; ``None`` raises."""

    def describe(context: Context) -> dict[str, Any]:
        found = answer(int(context.node_config["partition-id"]))
        if found is None:
            raise RuntimeError("out of order")
        return found

    return make_client_app(lambda context: None, describe)  # type: ignore[arg-type, return-value]


def grid_of(answer: Answer, count: int = 4) -> LocalGrid:
    """Return nodes that answer at once."""
    return LocalGrid(app_of(answer), count)


class GrowingGrid(LocalGrid):
    """The first nodes connect at once, the others when they are looked for a few times."""

    def __init__(self, answer: Answer, count: int, *, first: int) -> None:
        super().__init__(app_of(answer), count)
        self.first, self.looks = first, 0

    def get_node_ids(self) -> Iterable[int]:
        self.looks += 1
        nodes = list(super().get_node_ids())
        return nodes[: self.first] if self.looks < 4 else nodes


class SlowGrid(LocalGrid):
    """The answers of some nodes come only after so many pulls; the first ``forgets`` of them never do."""

    def __init__(self, answer: Answer, count: int, *, slow: dict[int, int], forgets: int = 0) -> None:
        super().__init__(app_of(answer), count)
        self.slow, self.forgets, self.asked = slow, forgets, 0

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        messages = list(messages)
        self.asked += len(messages)
        return super().push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        ready = []
        for key in list(message_ids):
            reply = self._replies.get(key)
            partition = reply.metadata.src_node_id - FIRST_NODE if reply else -1
            self.slow[partition] = self.slow.get(partition, 0) - 1
            if self.slow[partition] < 0:
                ready.append(key)
            elif self.forgets:
                self.forgets -= 1
                self._replies.pop(key)
                self.slow[partition] = 0
        return super().pull_messages(ready)


class LosingGrid(LocalGrid):
    """The first answer of every node is lost on the way, and Flower says so."""

    def __init__(self, answer: Answer, count: int) -> None:
        super().__init__(app_of(answer), count)
        self.lost: set[int] = set()

    def _answer(self, message: Message) -> Message | None:
        node = message.metadata.dst_node_id
        if node in self.lost:
            return super()._answer(message)
        self.lost.add(node)
        return Message(Error(code=ErrorCode.REPLY_MESSAGE_UNAVAILABLE, reason="gone"), reply_to=message)
