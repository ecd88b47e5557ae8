"""Replies that :mod:`fedsec.guard` does not hand on, and the error message that stands for them."""

from flwr.app import Message

REFUSED = 1000
"""Its code. Flower's own codes end at 8."""


class RefusedReplyError(ValueError):
    """A reply is not handed on; the message says why."""


class BusyError(RuntimeError):
    """The SuperLink failed at a question; it may answer when it is asked again."""


def refusal(message: Message) -> str | None:
    """Return why a reply was refused, ``None`` if the message is something else."""
    return message.error.reason if message.has_error() and message.error.code == REFUSED else None
