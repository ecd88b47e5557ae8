"""One line of a node's check."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one check.

    Attributes:
        check: what was looked at.
        ok: whether the node can join with it.
        text: what was found, and where it will not do, what would.
    """

    check: str
    ok: bool
    text: str
