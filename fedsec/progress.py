"""What a person sees while runs go on."""

from copy import copy
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from fedsec.runs.config import RunConfig
from fedsec.runs.filling import FillingRecord
from fedsec.runs.measures import measured_in_words
from fedsec.runs.record import RunFolder
from fedsec.runs.rounds import RoundRecord


class ProgressObserver:
    """Shows a bar with round, what was measured and the time left; prints notices and dropped replies above it.

    Reasons, versions and keys come from the clients and labels from files: nothing in them is read as markup, and
    what would move the cursor or colour the terminal is shown as an escape.

    Args:
        console: where to show it.
        quiet: show nothing at all.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self.label = ""
        self._quiet = quiet
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[accuracies]}", markup=False),
            TimeRemainingColumn(compact=True),
            console=console,
            disable=quiet,
            transient=not console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> "ProgressObserver":
        """Start showing."""
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop showing."""
        self._progress.stop()

    def beside(self) -> "ProgressObserver":
        """Return an observer of another run, with a bar of its own below this one's."""
        return copy(self)

    def preparing(self, label: str, rounds: int) -> None:
        """Show that a run is about to start, while its engine does."""
        self.label = label
        self._task = self._progress.add_task(printable(label), total=rounds, accuracies="starting")

    def started(self, config: RunConfig, folder: RunFolder, first_round: int) -> None:
        """Show that the clients are there."""
        if self._task is None:
            self.preparing(config.run.name, config.federation.rounds)
        if self._task is not None:
            self._progress.update(self._task, completed=first_round - 1, accuracies="training")

    def noticed(self, text: str) -> None:
        """Print a notice above the bar."""
        self._note(f"{self.label}: {text}")

    def filled(self, record: FillingRecord, done: int, clients: int) -> None:
        """Show how many clients have filled their classes, and what one of them has to say."""
        if self._task is not None:
            self._progress.update(self._task, accuracies=f"filling {done}/{clients}")
        if record.note:
            self._note(f"{self.label}: client {record.client}: {record.note}")

    def finished_round(self, record: RoundRecord) -> None:
        """Move the bar on, and print what went wrong in the round."""
        if self._task is not None:
            self._progress.update(self._task, completed=record.round, accuracies=measured_in_words(record))
        for client in record.dropped:
            self._note(f"round {record.round}: node {client['node_id']} dropped: {client['reason']}")
        if record.skipped:
            self._note(f"round {record.round} skipped: {record.skipped}")

    def _note(self, text: str) -> None:
        if not self._quiet:
            self._progress.console.print(Text.assemble(("note", "yellow"), " ", printable(text)))


def printable(text: str) -> str:
    """Return ``text`` on one line, with every character that is no letter, sign or space written as its escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
