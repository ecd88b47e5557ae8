"""Showing what a client sent: on one line, in few characters, and as nothing but text."""

LONGEST_NAME = 80


def shown(text: str, longest: int = LONGEST_NAME) -> str:
    r"""Return at most ``longest`` characters of ``text``; what does not print is written as \n, \x1b or \u202e.

    A client's words reach logs, records and terminals. A line feed in them would forge a line of a log, an escape
    sequence would move a terminal's cursor, and a mark of writing direction would hide what stands there.
    """
    escaped = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text[:longest]
    )
    return escaped if len(text) <= longest and len(escaped) <= longest else f"{escaped[: longest - 3]}..."
