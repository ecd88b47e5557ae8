"""What came of one client's filling of its classes: what it says of itself, and a line of the record."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fedsec.data.balancing import skew
from fedsec.strategies.wording import shown

LONGEST_NOTE = 200
MOST, MOST_CLASSES = 2**53, 100_000


@dataclass(frozen=True, slots=True)
class FillingRecord:
    """What a client held before and holds since.

    Attributes:
        client: its partition.
        before: images of each class that it holds itself.
        after: images of each class that it trains on.
        seconds: spent on making what fills its classes, be it now or in an earlier run.
        kept: whether it was made before, and only read now.
        note: what a person should know, such as a GAN that failed.
        by: what made the images that fill its classes, such as ``"cgan in bf16 on cpu"``; empty where nothing did.
    """

    client: int
    before: tuple[int, ...]
    after: tuple[int, ...]
    seconds: float
    kept: bool
    note: str = ""
    by: str = ""

    def line(self) -> dict[str, Any]:
        """Return it as JSON and Flower's records have it, with the skew before and after."""
        return {
            **asdict(self),
            "before": list(self.before),
            "after": list(self.after),
            "skew_before": skew(np.array(self.before, np.int64)),
            "skew_after": skew(np.array(self.after, np.int64)),
        }


def filling_from(answer: Mapping[str, Any], client: int, held: Sequence[int] = ()) -> FillingRecord:
    """Return what a client of partition ``client`` says of itself, or what a line of the record says.

    Args:
        answer: what it says.
        client: its partition, whatever it says of that.
        held: how many images of each class it said at the start that it holds, where that is known.

    Raises:
        ValueError: it is no such report.
    """
    before, after = _counts(answer, "before"), _counts(answer, "after")
    if held and before != tuple(held):
        raise ValueError(f"before: found {shown(str(list(before)))}; at the start it held {shown(str(list(held)))}")
    if len(before) != len(after) or any(b > a for b, a in zip(before, after, strict=True)):
        raise ValueError("images of each class after filling are fewer than before")
    seconds, kept = answer.get("seconds"), answer.get("kept")
    note, by = answer.get("note", ""), answer.get("by", "")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < MOST:
        raise ValueError(f"seconds: found {shown(repr(seconds))}; expected a number of seconds")
    if not isinstance(kept, bool) or not isinstance(note, str) or not isinstance(by, str):
        raise ValueError("kept must be a flag, note and by texts")
    told = shown(note, LONGEST_NOTE), shown(by, LONGEST_NOTE)
    return FillingRecord(client, before, after, float(seconds), kept, *told)


def _counts(answer: Mapping[str, Any], key: str) -> tuple[int, ...]:
    counts = answer.get(key)
    if (
        not isinstance(counts, list | tuple)
        or not all(type(count) is int and count >= 0 for count in counts)
        or not 0 < len(counts) <= MOST_CLASSES
        or sum(counts) >= MOST
    ):
        raise ValueError(f"{key}: found {shown(repr(counts))}; expected numbers of images")
    return tuple(counts)
