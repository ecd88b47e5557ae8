"""The nodes of a run fill their classes, each on its own, before the first round."""

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from flwr.app import Message
from flwr.serverapp import Grid

from fedsec.nodes import LOST, NodeReport, ask
from fedsec.observer import Notify
from fedsec.runs.filling import FillingRecord, filling_from
from fedsec.strategies.replies import last_line

Tell = Callable[[FillingRecord], None]
Look = Callable[[], Mapping[int, NodeReport]]
"""Returns what the nodes that are connected now say of themselves, by partition."""

POLL_SECONDS = 0.5
LATER = "it will when it is to train"


class FillingRound:
    """Asks every node that is there to fill its classes, and waits until all of them have.

    A node that goes away is asked again when its partition is back, be it under another id: what it had finished is on
    its disk. One that fails, stays away or is not done in time fills its classes when it is to train.

    Args:
        grid: connection to the nodes.
        look: tells which nodes are connected.
        tell: is told of each client that is done.
        notify: is told of each that is not.
    """

    def __init__(self, grid: Grid, look: Look, tell: Tell, notify: Notify) -> None:
        self._grid, self._look, self._tell, self._notify = grid, look, tell, notify
        self._asked: dict[int, NodeReport] = {}  # by partition, whom the open question went to
        self._open: dict[str, int] = {}  # the partition that a question went to
        self._seen: dict[int, float] = {}  # when a partition that is waited for was last connected

    def finish(self, done: Collection[int], timeout: float, patience: float) -> None:
        """Ask and wait.

        Args:
            done: partitions that are not asked.
            timeout: seconds that all of them have.
            patience: seconds after which a partition that went away is not waited for.
        """
        ended, now = set(done), time.monotonic()
        deadline, self._seen = now + timeout, dict.fromkeys(self._look().keys() - ended, now)
        while self._seen and time.monotonic() < deadline:
            self._ask(self._look(), ended)
            ended |= self._listen()
            for partition, seen in list(self._seen.items()):
                if partition in ended:
                    del self._seen[partition]
                elif time.monotonic() - seen > patience:
                    del self._seen[partition]
                    self._notify(f"partition {partition} went away before it had filled its classes; {LATER}")
            if self._seen:
                time.sleep(POLL_SECONDS)
        for partition in self._seen:
            self._notify(f"partition {partition} has not filled its classes within {timeout:g} s; {LATER}")

    def _ask(self, present: Mapping[int, NodeReport], ended: Collection[int]) -> None:
        """Ask those who are there and have no question yet; forget the questions of those who are not."""
        for partition, report in list(self._asked.items()):
            if partition not in present or present[partition].node_id != report.node_id:
                del self._asked[partition]
        self._open = {question: partition for question, partition in self._open.items() if partition in self._asked}
        self._seen |= dict.fromkeys(present.keys() - set(ended), time.monotonic())
        for partition, report in present.items():
            if partition not in ended and partition not in self._asked:
                self._asked[partition] = report
                self._open |= dict.fromkeys(ask(self._grid, [report.node_id], "query.fill"), partition)

    def _listen(self) -> set[int]:
        """Take in the answers that have come; return the partitions from which no other will."""
        heard: set[int] = set()
        for reply in self._grid.pull_messages(list(self._open)):
            partition = self._open.pop(reply.metadata.reply_to_message_id, None)
            if partition is None:
                continue
            if reply.has_error() and reply.error.code in LOST:
                del self._asked[partition]  # it is asked again, once it is connected
                continue
            heard.add(partition)
            self._take(reply, partition)
        return heard

    def _take(self, reply: Message, partition: int) -> None:
        if reply.has_error():
            reason = last_line(reply.error.reason)
            self._notify(f"partition {partition} could not fill its classes: {reason}; {LATER}")
            return
        try:
            answer: Mapping[str, Any] = reply.content.config_records["filling"]
            record = filling_from(answer, partition, self._asked[partition].class_counts)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            self._notify(f"partition {partition} does not say how it filled its classes: {last_line(str(error))}")
            return
        self._tell(record)
