"""What is said of a mistake in a configuration: one line with the key, what was found, and what would do."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from pydantic import ValidationError

from fedsec.runs.config import RunConfig, described, known_keys

LONGEST = 100
"""From this many characters on, a value or a key is cut short."""

_WORDS = {
    "string_type": "a text in quotes",
    "int_type": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "finite_number": "a finite number",
}


def explained(error: ValidationError) -> list[str]:
    """Return a line for each key that pydantic has refused."""
    by_key: dict[str, list[Mapping[str, Any]]] = {}
    for problem in error.errors():
        by_key.setdefault(".".join(str(part) for part in problem["loc"][:2]), []).append(problem)
    return [f"{named(key)}: {_explained(key, problems)}" for key, problems in by_key.items()]


def missing(key: str) -> str:
    """Return the line on a key that must be there and is not."""
    section, _, name = key.partition(".")
    table: Any = next(field.type for field in fields(RunConfig) if field.name == section)
    return f"{key}: missing; expected {described(table)[name.replace('-', '_')][1]}"


def suggestion(key: str) -> str:
    """Return what an unknown key may have been meant to be."""
    section, _, name = key.partition(".")
    keys = known_keys()
    sections = sorted({known.partition(".")[0] for known in keys})
    if section not in sections:
        close = difflib.get_close_matches(key, keys, 1) or difflib.get_close_matches(section, sections, 1)
        return f"did you mean {close[0]}?" if close else f"the tables are {', '.join(sections)}"
    names = [known.partition(".")[2] for known in keys if known.startswith(section + ".")]
    close = difflib.get_close_matches(name.replace("_", "-").lower(), names, 1)
    elsewhere = [known for known in keys if known.partition(".")[2] == name]
    if elsewhere:
        return f"did you mean {elsewhere[0]}?"
    return f"did you mean {section}.{close[0]}?" if close else f"{section} has {', '.join(names)}"


def shown(value: object) -> str:
    """Return a value as Python writes it, on one line and cut short."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of more than 4300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text)} characters)"


def named(key: str) -> str:
    """Return a key as it can be printed: in quotes and escaped where it is empty, too long, or would break the line."""
    return key if key and key.isprintable() and len(key) <= LONGEST else shown(key)


def _explained(key: str, problems: Sequence[Mapping[str, Any]]) -> str:
    first = problems[0]
    if first["type"] == "unexpected_keyword_argument":
        return f"unknown key; {suggestion(key)}"
    found = shown(first["input"])
    if first["type"].startswith("dataclass"):
        return f"found {found}; expected a table, such as [{key}]"
    expected = " or ".join(_expected(problem) for problem in problems)
    return f"found {found}; expected {expected}{_closest(first['input'], expected)}"


def _expected(problem: Mapping[str, Any]) -> str:
    return _WORDS.get(problem["type"]) or str(problem["msg"]).removeprefix("Input should be ")


def _closest(found: object, expected: str) -> str:
    choices = [word.strip("',") for word in expected.split() if word.startswith("'")]
    close = difflib.get_close_matches(str(found), choices, 1) if isinstance(found, str) else []
    return f"; did you mean {close[0]!r}?" if close else ""
