"""What a value of the configuration may be: its type, its bounds, what it means."""

import re
import unicodedata
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, Strict
from pydantic_core import PydanticCustomError

SECTION = ConfigDict(
    extra="forbid",
    alias_generator=lambda name: name.replace("_", "-"),
    validate_by_name=True,  # for Python; a file must spell its keys with dashes, see loading.parse
    allow_inf_nan=False,
)

PARTITIONS = re.compile(r"(\d{1,7}( \d{1,7})*)?", re.ASCII)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAME_RULE = "1 to 64 letters from a to z, digits, dots, dashes and underscores, the first a letter or a digit"


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise PydanticCustomError("name", NAME_RULE)
    return text


def _partitions(text: str) -> str:
    numbers = text.split()
    if not PARTITIONS.fullmatch(text) or len(set(map(int, numbers))) < len(numbers):
        raise PydanticCustomError("partitions", 'different partitions with a space between them, such as "1 3", or ""')
    return text


def _path(text: str) -> str:
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
        raise PydanticCustomError("path", "the path of a folder, without control characters")
    try:
        Path(text).expanduser()
    except RuntimeError:
        raise PydanticCustomError("path", "the path of a folder; no user of this machine has that name") from None
    return text


# Nothing is converted: "10" is no number, and neither is true.
Int = Annotated[int, Strict()]
Float = Annotated[float, Strict()]
Flag = Annotated[bool, Strict()]
Count = Annotated[Int, Field(ge=1, le=1_000_000)]
Share = Annotated[Float, Field(gt=0.0, le=1.0)]
Name = Annotated[str, AfterValidator(_name)]
PartitionList = Annotated[str, AfterValidator(_partitions)]
FolderPath = Annotated[str, AfterValidator(_path)]


def about(text: str, default: Any, **bounds: Any) -> Any:
    """Return a key's field: what it means, its default, and pydantic's bounds on it."""
    return Field(default, description=text, **bounds)
