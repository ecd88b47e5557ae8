"""Reads the code and the tables of a page of the documentation, so that tests can run what it says."""

import re
from pathlib import Path

PLUG_IN = Path(__file__).parents[1] / "docs" / "how-to" / "plug-in.md"


def sections(page: Path) -> dict[str, str]:
    """Return the text under each heading of the second level."""
    parts = re.split(r"^## (.+)$", page.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def code(page: Path, heading: str) -> str:
    """Return the one block of Python under ``heading``."""
    [block] = re.findall(r"^```python\n(.*?)^```$", sections(page)[heading], flags=re.MULTILINE | re.DOTALL)
    return str(block)


def table(page: Path, heading: str) -> list[list[str]]:
    """Return the cells of the rows of the table under ``heading``, without its head."""
    rows = [line for line in sections(page)[heading].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]
