"""A Grid in this process: the clients are called one after the other, without Ray and without waiting."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.serverapp import Grid

# Private, and needed by Message's constructor since Flower 1.38: without a task it refuses to make one.
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

Result = TypeVar("Result")

FIRST_NODE = 1_000_000
"""Node ids start here, so that nobody takes them for partitions."""


class LocalGrid(Grid):
    """A Grid whose nodes live in this process.

    A client that raises gives an error reply, as in Flower's simulation. One that returns ``None`` gives no
    reply, which stands for a client that never answers: here nothing is waited for.

    Args:
        client_app: the clients.
        num_nodes: how many there are.
        run_config: run config of the clients' contexts.
        node_ids: identities of the nodes, by partition.
    """

    def __init__(
        self,
        client_app: ClientApp,
        num_nodes: int,
        run_config: dict[str, Any] | None = None,
        node_ids: Iterable[int] | None = None,
    ) -> None:
        self.client_app = client_app
        ids = list(node_ids) if node_ids is not None else [FIRST_NODE + i for i in range(num_nodes)]
        self.contexts = {
            node_id: Context(
                run_id=1,
                node_id=node_id,
                node_config={"partition-id": partition, "num-partitions": num_nodes},
                state=RecordDict(),
                run_config=dict(run_config or {}),
            )
            for partition, node_id in enumerate(ids)
        }
        self._replies: dict[str, Message] = {}
        self._sent = 0
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, SUPERLINK_NODE_ID

    def set_run(self, run: Run) -> None:
        """Do nothing: there is one run."""

    @property
    def run(self) -> Run:
        """Run information; there is none."""
        return Run.create_empty(1)

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Create a message, as older server code asks a Grid to."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Return the identities of the nodes."""
        return list(self.contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Let the clients answer at once; return the ids under which the replies are found."""
        ids = []
        for message in messages:
            self._sent += 1
            message.metadata.__dict__["_message_id"] = str(self._sent)
            ids.append(str(self._sent))
            reply = self._answer(message)
            if reply is not None:
                self._replies[str(self._sent)] = reply
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies to these messages, once."""
        return [self._replies.pop(key) for key in list(message_ids) if key in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Return the replies to ``messages``; ``timeout`` has no meaning here."""
        return self.pull_messages(self.push_messages(messages))

    def _answer(self, message: Message) -> Message | None:
        context = self.contexts[message.metadata.dst_node_id]
        try:
            return self.client_app(message, context)
        except Exception as error:  # what a client raises is its reply, as on every other engine
            reason = f"{type(error).__name__}: {error}"
            return Message(Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=reason), reply_to=message)


def run_local(client_app: ClientApp, num_nodes: int, serve: Callable[[Grid], Result]) -> Result:
    """Call ``serve`` with a :class:`LocalGrid` and return what it returns."""
    return serve(LocalGrid(client_app, num_nodes))
