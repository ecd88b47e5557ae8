"""The nodes of a run fill their classes, each on its own, before the first round."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedsec.observer import Notify
from fedsec.runs.filling import FillingRecord, filling_from
from fedsec.strategies.replies import last_line

Tell = Callable[[FillingRecord], None]

POLL_SECONDS = 0.5


def collect_fillings(grid: Grid, partition_of: Mapping[int, int], timeout: float, tell: Tell, notify: Notify) -> None:
    """Ask nodes to fill their classes, and tell of each when it is done with it.

    A node that went away is asked again when it is back: what it had finished is on its disk. One that fails, or is not
    done in time, fills its classes when it is to train.

    Args:
        grid: connection to the nodes.
        partition_of: the partition of each node that is asked.
        timeout: seconds that all of them have.
        tell: is told of each that is done.
        notify: is told of each that is not.
    """
    waiting, gone = dict(partition_of), set[int]()
    open_ = _asked(grid, list(waiting))
    deadline = time.monotonic() + timeout
    while waiting and time.monotonic() < deadline:
        for reply in grid.pull_messages(list(open_)):
            node = open_.pop(reply.metadata.reply_to_message_id, None)
            if node in waiting:
                _take(reply, waiting.pop(node), tell, notify)
        if waiting:
            connected = set(grid.get_node_ids())
            back = gone & connected
            open_ |= _asked(grid, [node for node in waiting if node in back])
            gone = (gone | set(waiting)) - connected
            time.sleep(POLL_SECONDS)
    for partition in waiting.values():
        notify(f"partition {partition} has not filled its classes within {timeout:g} s; {LATER}")


LATER = "it will when it is to train"


def _asked(grid: Grid, node_ids: list[int]) -> dict[str, int]:
    questions = [Message(RecordDict(), node_id, "query.fill") for node_id in node_ids]
    grid.push_messages(questions)
    return {question.metadata.message_id: question.metadata.dst_node_id for question in questions}


def _take(reply: Message, partition: int, tell: Tell, notify: Notify) -> None:
    if reply.has_error():
        notify(f"partition {partition} could not fill its classes: {last_line(reply.error.reason)}; {LATER}")
        return
    try:
        answer: Mapping[str, Any] = reply.content.config_records["filling"]
        tell(filling_from(answer, partition))
    except (KeyError, TypeError, ValueError) as error:
        notify(f"partition {partition} does not say how it filled its classes: {last_line(str(error))}")
