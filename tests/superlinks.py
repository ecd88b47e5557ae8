"""A SuperLink's Runtime API in this process, as far as replies are concerned: it hands out what a test puts into it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from flwr.app import Message
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import ConfirmMessageReceivedResponse, ObjectTree, PullObjectRequest, PullObjectResponse
from flwr.proto.runtime_pb2 import (
    PullAppMessagesRequest,
    PullAppMessagesResponse,
    PushAppMessagesRequest,
    PushAppMessagesResponse,
)
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.run import Run
from flwr.superlink.grid import HttpGrid

RUN_ID = 1


class FakeSuperLink:
    """What a SuperLink holds of replies.

    Attributes:
        replies: message and tree of objects of the reply to each question.
        contents: the objects; one that is ``b""`` has not come yet.
        read: ids of the objects that were handed out, in order.
        announces: whether bodies come with their length.
        fails: how many of the next calls fail.
    """

    def __init__(self) -> None:
        self.replies: dict[str, tuple[Any, ObjectTree]] = {}
        self.contents: dict[str, bytes] = {}
        self.read: list[str] = []
        self.announces = True
        self.fails = 0

    def put(self, reply: Message) -> Message:
        """Take a reply in, as a SuperNode sends it; return it with its id."""
        objects = get_all_nested_objects(reply)
        reply.metadata.__dict__["_message_id"] = reply.object_id
        tree, about = get_object_tree(reply), message_to_proto(reply)
        about.ClearField("content")
        self.contents |= {key: part.deflate() for key, part in objects.items()}
        self.replies[reply.metadata.reply_to_message_id] = (about, tree)
        return reply

    def answer(self, path: str, body: bytes) -> bytes:
        if path.endswith("push-messages"):
            pushed = PushAppMessagesRequest.FromString(body).messages_list
            return PushAppMessagesResponse(message_ids=[m.metadata.message_id for m in pushed]).SerializeToString()
        if path.endswith("pull-messages"):
            found = [
                self.replies.pop(key)
                for key in PullAppMessagesRequest.FromString(body).message_ids
                if key in self.replies
            ]
            messages, trees = [about for about, _ in found], [tree for _, tree in found]
            return PullAppMessagesResponse(messages_list=messages, message_object_trees=trees).SerializeToString()
        if path.endswith("pull-object"):
            name = PullObjectRequest.FromString(body).object_id
            content = self.contents.get(name)
            self.read.append(name)
            return PullObjectResponse(
                object_found=content is not None, object_available=bool(content), object_content=content or b""
            ).SerializeToString()
        return ConfirmMessageReceivedResponse().SerializeToString()


@contextmanager
def fake_superlink() -> Iterator[tuple[FakeSuperLink, HttpGrid]]:
    """Yield a SuperLink and Flower's own connection to it."""
    fake = FakeSuperLink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if fake.fails:
                fake.fails -= 1
                self.send_error(500)
                return
            answer = fake.answer(self.path, self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-type", "application/protobuf")
            if fake.announces:
                self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: object) -> None:
            """Stay quiet."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *args: object) -> None:
            """Stay quiet about clients that hang up."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        grid = HttpGrid(f"127.0.0.1:{server.server_port}", insecure=True, token="token")
        grid.set_run(Run.create_empty(RUN_ID))
        try:
            yield fake, grid
        finally:
            grid.close()
            server.shutdown()
            thread.join()
