"""Behind the guard a node's answer is its own, to the question that it was asked, whatever it says of itself."""

from collections.abc import Callable, Iterable

import pytest
from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode

from fedsec.engine.local import FIRST_NODE, LocalGrid
from fedsec.guard import GuardedGrid, link_of
from fedsec.refusal import refusal

Change = Callable[[Message], Message]


def spoilt(**claims: object) -> Change:
    """Return a change of what an answer says of itself."""

    def change(reply: Message) -> Message:
        reply.metadata.__dict__.update({f"_{name}": value for name, value in claims.items()})
        return reply

    return change


def replies_of(change: Change) -> list[Message]:
    """Return the answers of three nodes behind a guard, of which the second changes its own."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        reply = Message(RecordDict(), reply_to=message)
        return change(reply) if context.node_config["partition-id"] == 1 else reply

    grid = GuardedGrid(LocalGrid(app, 3))
    return list(grid.send_and_receive([Message(RecordDict(), node, "train") for node in grid.get_node_ids()]))


CLAIMS = {
    "another run": (spoilt(run_id=7), "refused: it belongs to run 7; expected 1"),
    "another node": (spoilt(src_node_id=FIRST_NODE + 2), f"refused: it says that it comes from node {FIRST_NODE + 2}"),
    "the SuperLink": (spoilt(src_node_id=SUPERLINK_NODE_ID), "refused: it says that it comes from the SuperLink"),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_what_an_answer_claims_to_be_and_is_not_becomes_an_error_of_the_asked_node(claim: str) -> None:
    change, reason = CLAIMS[claim]
    replies = replies_of(change)
    assert [reply.metadata.src_node_id - FIRST_NODE for reply in replies] == [0, 1, 2]
    assert [refusal(reply) for reply in replies] == [None, reason, None]


def test_an_answer_to_no_question_of_this_run_is_left_out() -> None:
    assert len(replies_of(spoilt(reply_to_message_id="4711"))) == 2


def test_an_honest_answer_is_handed_on_as_it_is() -> None:
    replies = replies_of(lambda reply: reply)
    assert [reply.has_content() for reply in replies] == [True] * 3


def test_an_error_of_the_superlink_is_told_of_the_node_that_it_is_about() -> None:
    lost = Error(code=ErrorCode.NODE_UNAVAILABLE, reason="gone")

    class LosingGrid(LocalGrid):
        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            for reply in super().pull_messages(message_ids):
                error = Message(lost, reply_to=reply)
                error.metadata.__dict__["_reply_to_message_id"] = reply.metadata.reply_to_message_id
                error.metadata.__dict__["_src_node_id"] = SUPERLINK_NODE_ID
                yield error

    grid = GuardedGrid(LosingGrid(ClientApp(), 2))
    [question] = [Message(RecordDict(), FIRST_NODE, "query.whoami")]
    [reply] = grid.pull_messages(grid.push_messages([question]))
    assert reply.metadata.src_node_id == FIRST_NODE
    assert (reply.error.code, reply.error.reason) == (ErrorCode.NODE_UNAVAILABLE, "gone")
    assert refusal(reply) is None


def test_a_guard_of_a_guard_is_one_guard() -> None:
    grid = LocalGrid(ClientApp(), 1)
    assert GuardedGrid(GuardedGrid(grid)).inner is grid
    assert link_of(grid) is None
