"""Every node is asked to fill its classes and heard when it has; what it says wrong harms nobody."""

import re
from collections.abc import Collection, Iterable
from typing import Any

import pytest
from flwr.app import Context, Error, Message
from flwr.common.constant import ErrorCode

from fedsec import filling_round
from fedsec.clients import make_client_app
from fedsec.engine.local import LocalGrid
from fedsec.filling_round import FillingRound
from fedsec.nodes import NodeReport
from fedsec.runs.filling import FillingRecord

GOOD = FillingRecord(0, (4, 1), (4, 4), 0.5, False).line()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling_round, "POLL_SECONDS", 0.001)


class Nodes(LocalGrid):
    """Nodes that answer what they are given to answer; those in ``away`` go when they are asked, for so many looks.

    The answer of one that is away is what a SuperLink says of a node that it has lost.
    """

    def __init__(self, answers: list[Any], away: dict[int, int] | None = None, *, renamed: bool = False) -> None:
        def prepare(context: Context) -> Any:
            answer = answers[int(context.node_config["partition-id"])]
            if isinstance(answer, Exception):
                raise answer
            return answer

        super().__init__(make_client_app(lambda context: None, None, prepare), len(answers))  # type: ignore[arg-type, return-value]
        self.away, self.renamed, self.gone, self.asked = dict(away or {}), renamed, dict[int, int](), list[int]()

    @property
    def partitions(self) -> dict[int, int]:
        return {node: int(context.node_config["partition-id"]) for node, context in self.contexts.items()}

    def look(self) -> dict[int, NodeReport]:
        for partition, looks in list(self.gone.items()):
            self.gone[partition] = looks - 1
            if looks <= 0:
                del self.gone[partition]
                if self.renamed:
                    [node] = [node for node, of in self.partitions.items() if of == partition]
                    self.contexts[node + 50] = self.contexts.pop(node)
        return {of: NodeReport(node, of, (4, 1)) for node, of in self.partitions.items() if of not in self.gone}

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        messages = list(messages)
        ids = list(super().push_messages(messages))
        for message, key in zip(messages, ids, strict=True):
            partition = self.partitions[message.metadata.dst_node_id]
            self.asked.append(partition)
            if partition in self.away:
                self.gone[partition] = self.away.pop(partition)
                self._replies[key] = Message(Error(ErrorCode.NODE_UNAVAILABLE, "offline"), reply_to=message)
        return ids


def collected(
    grid: Nodes, timeout: float = 5.0, patience: float = 5.0, done: Collection[int] = ()
) -> tuple[list[FillingRecord], list[str]]:
    told: list[FillingRecord] = []
    notices: list[str] = []
    FillingRound(grid, grid.look, told.append, notices.append).finish(done, timeout, patience)
    return told, notices


def test_everybody_is_asked_once_and_heard() -> None:
    grid = Nodes([GOOD] * 3)
    told, notices = collected(grid)
    assert sorted(record.client for record in told) == [0, 1, 2]
    assert (grid.asked, notices) == ([0, 1, 2], [])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (RuntimeError("CUDA out of memory"), "partition 1 could not fill its classes: .*out of memory; it will when"),
        ({}, "partition 1 does not say how it filled its classes"),
        ({**GOOD, "after": [1, 1]}, "partition 1 does not say how it filled its classes: images of each class"),
        ({**GOOD, "seconds": "for ever"}, "partition 1 does not say how it filled its classes: seconds: found"),
        ({**GOOD, "before": [1, 1]}, "partition 1 does not say how it filled its classes: before: found"),
    ],
)
def test_one_that_fails_or_talks_nonsense_costs_nobody_else(answer: Any, words: str) -> None:
    told, notices = collected(Nodes([GOOD, answer, GOOD]))
    assert sorted(record.client for record in told) == [0, 2]
    [notice] = notices
    assert re.match(words, notice)


@pytest.mark.parametrize("renamed", [False, True])
def test_one_that_went_away_and_came_back_is_asked_again(renamed: bool) -> None:
    grid = Nodes([GOOD, GOOD], away={1: 3}, renamed=renamed)
    told, notices = collected(grid)
    assert sorted(record.client for record in told) == [0, 1]
    assert grid.asked == [0, 1, 1]
    assert notices == []


def test_one_that_stays_away_is_not_waited_for() -> None:
    told, notices = collected(Nodes([GOOD, GOOD], away={1: 10**9}), timeout=60.0, patience=0.1)
    assert [record.client for record in told] == [0]
    assert notices == ["partition 1 went away before it had filled its classes; it will when it is to train"]


def test_one_that_is_not_done_in_time_is_given_up() -> None:
    told, notices = collected(Nodes([GOOD, GOOD], away={1: 10**9}), timeout=0.2)
    assert [record.client for record in told] == [0]
    assert notices == ["partition 1 has not filled its classes within 0.2 s; it will when it is to train"]


def test_those_who_are_done_are_not_asked() -> None:
    grid = Nodes([GOOD] * 3)
    told, _ = collected(grid, done=[1])
    assert sorted(record.client for record in told) == [0, 2]
    assert grid.asked == [0, 2]
