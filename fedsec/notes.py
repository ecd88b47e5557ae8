"""What a client has to say beside numbers, such as that it lost its state. It goes into the record, cut and cleaned."""

from collections.abc import Mapping

from fedsec.strategies.wording import shown

LONGEST_NOTE = 200
KEY = "note"


def note_in(record: Mapping[str, object] | None) -> str:
    """Return the note in a client's record of texts, or "": printable, on one line, at most 200 characters."""
    said = record.get(KEY) if record is not None else None
    return shown(said, LONGEST_NOTE) if isinstance(said, str) else ""
