"""What a node says of itself when the server asks it which partition it holds."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from flwr.app import Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.superlink.grid import InMemoryGrid

from fedsec import __version__
from fedsec.scenario import code_hash
from fedsec.strategies.replies import last_line

SETTLE_SECONDS, LISTEN_SECONDS = 0.3, 0.01
LONGEST_CLAIM, LONGEST_REASON = 80, 400
LOST = (ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE, ErrorCode.NODE_UNAVAILABLE)
"""Errors that say nothing of the node itself: the question or its answer was lost on the way."""


class FederationError(RuntimeError):
    """The nodes that are there cannot run this configuration; the message says what would do."""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What a node says of itself.

    Attributes:
        node_id: its identity, from Flower.
        partition: which partition it holds.
        class_counts: how many examples of each class it holds.
        classes: names of these classes, where it says them.
    """

    node_id: int
    partition: int
    class_counts: tuple[int, ...]
    classes: tuple[str, ...] = ()


class NoReportError(ValueError):
    """A node's answer is none; ``again`` tells whether it is worth asking again, as after a lost connection."""

    def __init__(self, message: str, *, again: bool = False) -> None:
        super().__init__(message)
        self.again = again


def ask(grid: Grid, node_ids: Iterable[int], question: str = "query.whoami") -> dict[str, int]:
    """Ask nodes who they are, without waiting; return whom each question went to, by the question's id."""
    questions = [Message(RecordDict(), node_id, question) for node_id in node_ids]
    grid.push_messages(questions)
    return {question.metadata.message_id: question.metadata.dst_node_id for question in questions}


def report_of(node_id: int, reply: Message) -> NodeReport:
    """Return what a node answered.

    Raises:
        NoReportError: it answered nothing of use.
    """
    if reply.has_error():
        text = f"it cannot say who it is: {last_line(reply.error.reason)}"
        raise NoReportError(text, again=reply.error.code in LOST)
    try:
        return _report(node_id, reply)
    except (KeyError, TypeError, ValueError) as error:
        raise NoReportError(f"{error}"[:LONGEST_REASON]) from None


def is_simulation(grid: Grid) -> bool:
    """Tell whether the nodes are Flower's simulation, on Ray."""
    return isinstance(grid, InMemoryGrid)


def listen_closely(grid: Grid) -> None:
    """Let a simulation's grid look for replies every hundredth of a second, where Flower waits for a tenth."""
    if isinstance(grid, InMemoryGrid):
        grid.pull_interval = LISTEN_SECONDS


def check_simulation(grid: Grid, clients: int) -> None:
    """Raise :class:`FederationError` at once if a simulation has too few nodes; in a deployment more may still come."""
    if not is_simulation(grid):
        return
    before, found = -1, 0
    while found == 0 or found != before:
        time.sleep(SETTLE_SECONDS)  # the nodes of a simulation are registered one right after the other
        before, found = found, len(list(grid.get_node_ids()))
    if found < clients:
        raise FederationError(
            f"the federation has {found} nodes and the configuration needs {clients}; give the command again with "
            "nodes enough, and with the same --run-config if it had one: "
            f'flwr run . --federation-config "num-supernodes={clients} client-resources-num-cpus=1"'
        )


def _report(node_id: int, reply: Message) -> NodeReport:
    answer = reply.content.config_records["node"]
    if answer["code"] != code_hash():
        raise ValueError(
            f"it runs other code (fedsec {_short(answer['version'])}, {_short(answer['code'])}) than the server "
            f"(fedsec {__version__}, {code_hash()}); install the same version on both"
        )
    partition, counts = answer["partition-id"], answer.get("class-counts", [])
    if not isinstance(partition, int) or not isinstance(counts, list):
        raise TypeError(
            f"partition-id {_short(partition)} and class-counts {_short(counts)} must be a number and a list"
        )
    if not all(isinstance(count, int) and 0 <= count < 2**53 for count in counts):
        raise ValueError(f"class-counts {_short(counts)} must be numbers of examples")
    classes = answer.get("classes", [])
    if not isinstance(classes, list) or not all(
        isinstance(name, str) and len(name) <= LONGEST_CLAIM for name in classes
    ):
        raise ValueError(f"classes {_short(classes)} must be a list of names")
    return NodeReport(node_id, partition, tuple(int(count) for count in counts), tuple(map(str, classes)))


def _short(claim: object) -> str:
    text = repr(claim)
    return text if len(text) <= LONGEST_CLAIM else f"{text[:LONGEST_CLAIM]}..."
