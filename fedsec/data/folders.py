"""Where the folder of a data set may lie, and whether a folder can be one."""

import os
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

SPLIT = re.compile(r"(?<![a-z])(train|training|test|testing|eval|evaluation)(?![a-z])", re.IGNORECASE)
"""What the ``datasets`` library looks for in the names of files and folders, to tell the splits apart."""


def all_datasets() -> Path | None:
    """Return ``$FEDSEC_DATA``, the folder of all data sets, or ``None`` where it is not set."""
    return _expanded(os.environ["FEDSEC_DATA"]) if os.environ.get("FEDSEC_DATA") else None


def candidates(name: str) -> list[Path]:
    """Return the folders that ``name`` can mean: one below ``$FEDSEC_DATA``, and where it is a path, that one."""
    folders = [_expanded(name)] if os.sep in name or name.startswith((".", "~")) else []
    top = all_datasets()
    if top is not None and Path(os.path.normpath(top)) in Path(os.path.normpath(top / name)).parents:
        folders.insert(0, top / name)
    return list(dict.fromkeys(folders))


def looked_in(name: str) -> str:
    """Return in words where ``name`` was looked for in vain."""
    folders = candidates(name)
    if not folders:
        return "FEDSEC_DATA is not set, so no folder was looked in"
    return "no such folder: " + ", ".join(str(folder) for folder in folders)


def why_no_dataset(folder: Path, *, needs_splits: bool = True) -> str:
    """Return why ``folder`` is certainly no data set, or "".

    Looks two levels deep and no deeper: a home folder is not searched for minutes.

    Args:
        folder: what is to be one.
        needs_splits: whether something in it must be named after a split; a client's own data may be all for training.
    """
    place, home, top = folder.resolve(), Path.home().resolve(), all_datasets()
    if place == home or place in home.parents:
        return "that is a home folder, or one above it"
    if top is not None and (place == top.resolve() or place in top.resolve().parents):
        return "that is FEDSEC_DATA, the folder of all data sets, or one above it"
    if not needs_splits:
        return "" if next(_entries(folder), None) else "it is empty"
    names = (path.name for path in chain(_entries(folder), _entries_below(folder)))
    if any(SPLIT.search(name) for name in names) or _has_card(folder):
        return ""
    return "nothing in it, or one folder deeper, is named train or test"


def identity(folder: Path) -> str:
    """Return a text that changes with the files of ``folder``: names, sizes, times."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return "\n".join(f"{path.relative_to(folder)} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files)


def is_of_one_class(folder: Path) -> bool:
    """Tell whether all pictures below ``folder`` lie in folders of one name, which is a class's and no split's."""
    from PIL import Image  # here: most processes only read the cache

    endings = Image.registered_extensions()
    places = {path.parent for path in folder.rglob("*") if path.suffix.lower() in endings}
    names = {place.name for place in places}
    return len(names) == 1 and folder not in places and not SPLIT.fullmatch(names.pop())


def _has_card(folder: Path) -> bool:
    """Tell whether the folder has a data set card of the hub, which may give its files other names."""
    card = folder / "README.md"
    return card.is_file() and card.read_bytes()[:3] == b"---"


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from entries


def _entries_below(folder: Path) -> Iterator[os.DirEntry[str]]:
    for entry in _entries(folder):
        if entry.is_dir() and os.access(entry.path, os.R_OK | os.X_OK):
            yield from _entries(Path(entry.path))


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # ~name of nobody on this machine
        return Path(text)
