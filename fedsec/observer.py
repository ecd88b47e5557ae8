"""Who is told how a run goes."""

from collections.abc import Callable
from typing import Protocol

from fedsec.runs.config import RunConfig
from fedsec.runs.filling import FillingRecord
from fedsec.runs.record import RunFolder
from fedsec.runs.rounds import RoundRecord

Notify = Callable[[str], None]


class Observer(Protocol):
    """Is told how a run goes. What it does with that is shown to people, and decides nothing."""

    def started(self, config: RunConfig, folder: RunFolder, first_round: int) -> None:
        """Tell that the nodes are there and the next round is ``first_round``."""

    def noticed(self, text: str) -> None:
        """Tell of something that a person should know and that stops nothing."""

    def filled(self, record: FillingRecord, done: int, clients: int) -> None:
        """Tell that a client has filled its classes, as one of ``done`` of all ``clients``."""

    def finished_round(self, record: RoundRecord) -> None:
        """Tell that a round is over and on disk."""


class News:
    """What happened between rounds, told at once and kept for the record of the next one.

    Args:
        notify: is told at once.
    """

    def __init__(self, notify: Notify) -> None:
        self._notify = notify
        self._kept: list[str] = []

    def tell(self, text: str) -> None:
        """Tell and keep."""
        self._notify(text)
        self._kept.append(text)

    def take(self) -> list[str]:
        """Return what was kept, and forget it."""
        kept, self._kept = self._kept, []
        return kept
