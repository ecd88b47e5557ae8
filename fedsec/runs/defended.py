"""What a table tells of the rounds in which an attack failed, and of their time: its section ``[defended]``."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

STRATEGY = "defense.strategy"


@dataclass(frozen=True, slots=True)
class Defended:
    """What counts as a defended round, and what a round of each strategy took elsewhere.

    Attributes:
        below: percent of BA below which a round is defended.
        seconds: published seconds of a round, by strategy.
    """

    below: float
    seconds: dict[str, float]


def defended_of(section: Mapping[str, Any]) -> Defended | None:
    """Return a table file's section, which was checked; ``None`` where it has none."""
    if not section:
        return None
    return Defended(float(section["below"]), {name: float(value) for name, value in section.get("seconds", {}).items()})


def defended_problems(section: Any, axes: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    """Yield the mistakes in the section of a table with these axes."""
    if not isinstance(section, Mapping) or (section and "below" not in section):
        yield f"defended: found {section!r}; expected below = a percentage of BA, and published seconds"
        return
    for key in section.keys() - {"below", "seconds"}:
        yield f"defended: {key!r} is no key of it; expected below or seconds"
    if section and not (_is_number(section["below"]) and 0 < section["below"] <= 100):
        yield f"defended.below: found {section['below']!r}; expected a percentage of BA, above 0 and at most 100"
    seconds = section.get("seconds", {})
    if not isinstance(seconds, Mapping) or not all(_is_number(value) and value > 0 for value in seconds.values()):
        yield f"defended.seconds: found {seconds!r}; expected published seconds of a round, by strategy"
    elif seconds and list(axes) != [STRATEGY]:
        yield f"defended.seconds: found with the axes {list(axes)}; expected {STRATEGY} alone"
    else:
        for name in seconds.keys() - set(axes.get(STRATEGY, ())):
            yield f"defended.seconds: {name!r} is not on the axis {axes[STRATEGY]}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
