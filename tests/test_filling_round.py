"""Every node is asked to fill its classes and heard when it has; what it says wrong harms nobody."""

import re
from collections.abc import Iterable
from typing import Any

import pytest
from flwr.app import Context, Message

from fedsec import filling_round
from fedsec.clients import make_client_app
from fedsec.engine.local import LocalGrid
from fedsec.filling_round import collect_fillings
from fedsec.runs.filling import FillingRecord

GOOD = FillingRecord(0, (4, 1), (4, 4), 0.5, False).line()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling_round, "POLL_SECONDS", 0.001)


class Nodes(LocalGrid):
    """Nodes that answer what they are given to answer; those in ``away`` are gone for so many looks at first."""

    def __init__(self, answers: list[Any], away: dict[int, int] | None = None) -> None:
        def prepare(context: Context) -> Any:
            answer = answers[int(context.node_config["partition-id"])]
            if isinstance(answer, Exception):
                raise answer
            return answer

        super().__init__(make_client_app(lambda context: None, None, prepare), len(answers))  # type: ignore[arg-type, return-value]
        self.away, self.asked = dict(away or {}), list[int]()

    @property
    def partitions(self) -> dict[int, int]:
        return {node: int(context.node_config["partition-id"]) for node, context in self.contexts.items()}

    def get_node_ids(self) -> Iterable[int]:
        self.away = {partition: looks - 1 for partition, looks in self.away.items() if looks > 0}
        return [node for node, partition in self.partitions.items() if partition not in self.away]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        messages = list(messages)
        self.asked += [self.partitions[message.metadata.dst_node_id] for message in messages]
        ids = list(super().push_messages(messages))
        for message, key in zip(messages, ids, strict=True):
            if self.partitions[message.metadata.dst_node_id] in self.away:
                self._replies.pop(key)  # its process ended before it could answer
        return ids


def collected(grid: Nodes, timeout: float = 5.0) -> tuple[list[FillingRecord], list[str]]:
    told: list[FillingRecord] = []
    notices: list[str] = []
    collect_fillings(grid, grid.partitions, timeout, told.append, notices.append)
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
        ({**GOOD, "seconds": "for ever"}, "partition 1 does not say"),
    ],
)
def test_one_that_fails_or_talks_nonsense_costs_nobody_else(answer: Any, words: str) -> None:
    told, notices = collected(Nodes([GOOD, answer, GOOD]))
    assert sorted(record.client for record in told) == [0, 2]
    [notice] = notices
    assert re.match(words, notice)


def test_one_that_went_away_and_came_back_is_asked_again() -> None:
    grid = Nodes([GOOD, GOOD], away={1: 3})
    told, notices = collected(grid)
    assert sorted(record.client for record in told) == [0, 1]
    assert grid.asked == [0, 1, 1]
    assert notices == []


def test_one_that_never_answers_is_given_up_in_time() -> None:
    told, notices = collected(Nodes([GOOD, GOOD], away={1: 10**9}), timeout=0.2)
    assert [record.client for record in told] == [0]
    assert notices == ["partition 1 has not filled its classes within 0.2 s; it will when it is to train"]
