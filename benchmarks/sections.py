"""What a benchmark of one subject hands over: times, a table of them, and goals."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.measuring import Timing

Table = list[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Goal:
    """A number that should be at least or at most so much.

    Attributes:
        text: what is compared with what.
        measured: the number.
        bound: what it should be.
        at_least: whether it should be that at least; at most otherwise.
        unit: what both are counted in.
    """

    text: str
    measured: float
    bound: float
    at_least: bool = False
    unit: str = "x"

    @property
    def reached(self) -> bool:
        """Whether it is so."""
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound

    def row(self) -> tuple[str, ...]:
        """Return the row of the table of goals."""
        bound = f"{'>=' if self.at_least else '<='} {self.bound:g} {self.unit}"
        measured = f"{self.measured:.3g} {self.unit}"
        return (self.text, bound.strip(), measured.strip(), "yes" if self.reached else "no")


GOAL_HEAD = ("goal", "bound", "measured", "reached")


@dataclass(frozen=True, slots=True)
class Section:
    """The result of one subject.

    Attributes:
        title: what was measured, and on what.
        times: the seconds and the memory of everything by name.
        table: the table for people, its head first.
        goals: what was aimed at.
    """

    title: str
    times: Mapping[str, Timing]
    table: Table
    goals: list[Goal]

    def titled(self) -> Table:
        """Return the table with the title in its head, for a file of many tables."""
        return [(self.title, *self.table[0][1:]), *self.table[1:]]

    def as_json(self) -> dict[str, Any]:
        """Return all of it but the table for a file."""
        return {
            "title": self.title,
            "times": {
                name: {"seconds": list(timing.seconds), "added_mib": timing.added_mib}
                for name, timing in self.times.items()
            },
            "goals": [
                {"text": goal.text, "measured": goal.measured, "bound": goal.bound, "at_least": goal.at_least}
                | {"reached": goal.reached}
                for goal in self.goals
            ],
        }


def compared(times: Mapping[str, Timing], ours: str, *, limit: str | None = None, notes: Mapping[str, str]) -> Table:
    """Return a table of ``times`` in which everything is compared with ``ours``, and with the time of ``limit``."""
    head = ("what", "median (lowest to highest)", f"times {ours}")
    rows: Table = [(*head, *(() if limit is None else (f"times {limit}",)), "remark")]
    for name, timing in times.items():
        ratios = [f"{timing.median / times[of].median:.2f}" for of in (ours, limit) if of is not None]
        rows.append((name, str(timing), *ratios, notes.get(name, "")))
    return rows
